"""Kills runs at random moments, resumes them, and compares what they leave with an undisturbed run.

``python killed_runs.py 100`` does it a hundred times.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import wsss_seed

SCRIPT = Path(__file__).with_name("painted.py")
IMAGES, PAUSE = 30, 0.01


def start(out: Path | str, *options: str, **kwargs: Any) -> subprocess.Popen[str]:
    """A run of its own process."""
    package = str(Path(wsss_seed.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), *options], env=environment, stderr=subprocess.PIPE, text=True, **kwargs
    )


def finish(out: Path | str, *options: str) -> tuple[int, str]:
    """Exit status and messages of a run that is left alone."""
    process = start(out, *options)
    _, messages = process.communicate()
    return process.returncode, messages


def contents(out: Path) -> dict[str, Any]:
    """Everything a run folder holds, but times."""
    files: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name == ".lock":
            continue
        if path.match("manifest*.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for line in lines:
                del line["seconds"], line["finished"]
                if line["mask"]:
                    del line["mask"]["mtime_ns"]
            files[name] = lines
        elif name == "run.json":
            run = json.loads(path.read_text())
            del run["started"], run["finished"], run["totals"]["seconds"]
            files[name] = run
        elif name == "evaluation.json":
            files[name] = {**json.loads(path.read_text()), "manifest": ""}  # which has times
        else:
            files[name] = path.read_bytes()
    return files


def begun(out: Path) -> bool:
    """Whether a process has opened the run."""
    return any(out.glob(".work/*.jsonl"))


def recorded(out: Path) -> int:
    """Number of records of processes that have not ended."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob(".work/*.jsonl"))


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the run did not come this far"
        time.sleep(0.002)


def killed_and_resumed(out: Path, dice: random.Random) -> int:
    """Kill a run with SIGKILL once it has begun, resume it, and return how many masks it had made before."""
    options = ("--images", str(IMAGES), "--pause", str(PAUSE))
    process = start(out, *options)
    wait_for(lambda: begun(out))
    time.sleep(dice.uniform(0, 1.1 * IMAGES * PAUSE))
    process.kill()
    process.communicate()
    made = sum(1 for _ in (out / "SegmentationClass").rglob("*.png"))
    status, messages = finish(out, *options)
    assert status == 0, messages
    return made


def main(times: int) -> None:
    dice = random.Random(time.time_ns())
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        assert finish(undisturbed, "--images", str(IMAGES))[0] == 0
        expected = contents(undisturbed)
        for i in range(times):
            out = Path(folder) / str(i)
            made = killed_and_resumed(out, dice)
            same = contents(out) == expected
            print(
                f"run {i + 1}: killed after {made} of {IMAGES} masks, {'identical' if same else 'DIFFERENT'}",
                flush=True,
            )
            assert same


if __name__ == "__main__":
    main(int(sys.argv[1]))
