"""What workers of a Ray cluster do in test_on_ray.py; they import it by name.

``python ray_jobs.py ADDRESS OUT IMAGES PAUSE`` is a driver.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from painted import CLASSES, NearestColour, Painted

from wsss_seed.errors import UsageError
from wsss_seed.io.progress import Progress, Reporter
from wsss_seed.io.signals import exit_on_signal
from wsss_seed.output.run_folder import driving, finalize
from wsss_seed.run.generate import RunResult, generate
from wsss_seed.run.on_ray import Cluster, on_ray
from wsss_seed.run.workers import Worker


def seed(out: Path, images: int, pause: float, deadly: int, token: str, device: str, progress: Reporter) -> RunResult:
    seeder = NearestColour(pause=pause, deadly=deadly)
    return generate(Painted(images), seeder, out, settings=seeder.settings, token=token, progress=progress)


def refuse(device: str, progress: Reporter) -> None:
    raise UsageError("the weights are gone")


def drive(
    address: str, out: Path, images: int, pause: float = 0.0, deadly: int = -1, workers: int = 2
) -> tuple[list[Worker[RunResult]], bool]:
    """A run on a cluster, as ``run.plan.execute`` does it."""
    with driving(out) as (token, driver):
        task = partial(seed, out, images, pause, deadly, token)
        result = on_ray(task, Cluster(address, workers, cpus=1.0), [driver], Progress())
    finalize(out, CLASSES, "val", Painted(images).ids)
    return result


if __name__ == "__main__":
    exit_on_signal()
    _, interrupted = drive(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    sys.exit(130 if interrupted else 0)
