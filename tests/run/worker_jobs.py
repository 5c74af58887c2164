"""What worker processes do in test_workers.py; they import it by name."""

from __future__ import annotations

import atexit
import logging
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from painted import NearestColour, Painted

from wsss_seed.data.base import Sample
from wsss_seed.errors import UsageError, WsssError
from wsss_seed.io.progress import Progress
from wsss_seed.run.generate import RunResult, generate


class Deadly(Painted):
    """An image that aborts the process that reads it, as a damaged one may do in a native library."""

    def __init__(self, images: int, deadly: int) -> None:
        super().__init__(images)
        self.deadly = deadly

    def image(self, sample: Sample) -> np.ndarray:
        if self._index(sample) == self.deadly:
            os.abort()
        return super().image(sample)


class Unreadable(Painted):
    """A dataset that ends the worker process that receives it."""

    def __setstate__(self, _: object) -> None:
        os._exit(9)


def refuse(message: str, device: str, progress: Progress) -> None:
    if device == "second":
        raise WsssError(message)
    signal.pause()  # until it is terminated


def vanish(marks: Path, device: str, progress: Progress) -> str:
    """The process on ``second`` dies without a step, that on ``third`` after its first one only."""
    progress.start(5, 1)
    if device == "second":
        os._exit(7)
    progress.step(failed=device == "first")
    if device == "third" and not (marks / device).exists():
        (marks / device).touch()
        os._exit(7)
    return device


def linger(device: str, progress: Progress) -> str:
    atexit.register(time.sleep, 600)
    return device


def tell(device: str, progress: Progress) -> str:
    log = logging.getLogger("wsss_seed.run.jobs")
    log.debug("not asked for")
    log.info("loading %s", device)
    return device


def paint(
    out: Path, images: int, deadly: int, part: tuple[int, int], token: str, device: str, progress: Progress
) -> RunResult:
    seeder = NearestColour(pause=0.02, deadly=deadly)
    return generate(Painted(images), seeder, out, settings=seeder.settings, shard=part, token=token, progress=progress)


def die(part: tuple[int, int], token: str, device: str, progress: Progress) -> None:
    os._exit(9)


def without_weights(part: tuple[int, int], token: str, device: str, progress: Progress) -> None:
    raise UsageError("the weights are gone")


def paint_on_a_full_disk(
    out: Path, images: int, mark: Path, part: tuple[int, int], token: str, device: str, progress: Progress
) -> RunResult:
    """The first of the processes can write small files only."""
    with suppress(FileExistsError):
        mark.touch(exist_ok=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
    return paint(out, images, -1, part, token, device, progress)
