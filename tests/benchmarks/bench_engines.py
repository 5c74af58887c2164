"""What an engine adds to an image: the same run in this process, with processes of this machine, and on Ray.

``python tests/benchmarks/bench_engines.py [--images 2000] [--milliseconds 10]``

The seeder sleeps for a given time, as if a GPU were at work, and paints; so the processor has little to do and the
difference to the sum of the pauses is decoding, writing and the engine. Ray is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"
RUNS = Path(__file__).parents[1] / "run"
sys.path.insert(0, str(RUNS))
os.environ["PYTHONPATH"] = os.pathsep.join([str(RUNS), str(RUNS.parents[1])])

from painted import CLASSES, NearestColour, Painted  # noqa: E402
from rich.console import Console  # noqa: E402

from wsss_seed.io.extras import missing_modules  # noqa: E402
from wsss_seed.io.progress import Progress, Reporter  # noqa: E402
from wsss_seed.output.run_folder import driving, finalize  # noqa: E402
from wsss_seed.run.generate import RunResult, generate  # noqa: E402
from wsss_seed.run.on_ray import Cluster, on_ray  # noqa: E402
from wsss_seed.run.workers import on_devices  # noqa: E402


def seed(out: Path, images: int, pause: float, token: str, device: str, progress: Reporter | None) -> RunResult:
    seeder = NearestColour(pause=pause)
    return generate(Painted(images), seeder, out, settings=seeder.settings, token=token, progress=progress)


def working(out: Path) -> float:
    """Seconds from the first record to the last: without the start of processes."""
    import json

    times = [json.loads(line)["finished"] for line in (out / "manifest.jsonl").read_bytes().splitlines()]
    return max(times) - min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--milliseconds", type=float, default=10.0)
    options = parser.parse_args()
    images, pause = options.images, options.milliseconds / 1000
    quiet = Progress(Console(quiet=True))
    print(f"{images} images, {options.milliseconds:g} ms of pause each")
    print(f"{'engine':22} {'total s':>8} {'ms/image':>9} {'beyond the pause':>17}")

    def show(name: str, workers: int, out: Path, start: float) -> None:
        each = working(out) / images * 1000
        print(f"{name:22} {time.monotonic() - start:8.1f} {each:9.2f} {each - options.milliseconds / workers:14.2f} ms")

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        start = time.monotonic()
        seed(home / "one", images, pause, "", "cpu", None)
        show("this process", 1, home / "one", start)
        for workers in (1, 2):
            out, start = home / f"local{workers}", time.monotonic()
            with driving(out) as (token, _):
                on_devices(partial(seed, out, images, pause, token), ["cpu"] * workers, quiet)
            finalize(out, CLASSES, "val", Painted(images).ids)
            show(f"local, {workers} worker(s)", workers, out, start)
        for workers in (1, 2) if not missing_modules("ray") else ():
            out, start = home / f"ray{workers}", time.monotonic()
            with driving(out) as (token, driver):
                on_ray(partial(seed, out, images, pause, token), Cluster(None, workers, cpus=1.0), [driver], quiet)
            finalize(out, CLASSES, "val", Painted(images).ids)
            show(f"ray, {workers} worker(s)", workers, out, start)


if __name__ == "__main__":
    main()
