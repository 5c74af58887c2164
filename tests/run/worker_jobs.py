"""What worker processes do in test_workers.py; they import it by name."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import time

from wsss_seed.errors import WsssError
from wsss_seed.io.progress import Progress


def refuse(message: str, device: str, shard: tuple[int, int], progress: Progress) -> None:
    if shard[0] == 1:
        raise WsssError(message)
    signal.pause()  # until it is terminated


def vanish(device: str, shard: tuple[int, int], progress: Progress) -> tuple[str, tuple[int, int]]:
    progress.start(5, shard[0])
    progress.step(failed=shard[0] == 0)
    if device == "second":
        os._exit(7)
    return device, shard


def linger(device: str, shard: tuple[int, int], progress: Progress) -> str:
    atexit.register(time.sleep, 600)
    return device


def tell(device: str, shard: tuple[int, int], progress: Progress) -> str:
    log = logging.getLogger("wsss_seed.run.jobs")
    log.debug("not asked for")
    log.info("loading %s", device)
    return device
