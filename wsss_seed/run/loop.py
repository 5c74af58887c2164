"""The loop over many images: read ahead, process one by one, write behind, and isolate images that fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, TypeVar

from ..data.base import Sample
from ..errors import ImageError, WsssError, out_of_memory
from ..io.prefetch import BackgroundWriter, prefetch_map
from ..io.signals import interruptible

log = logging.getLogger(__name__)

L = TypeVar("L")
M = TypeVar("M")


def process_samples(
    samples: Iterable[Sample],
    load: Callable[[Sample], L],
    make: Callable[[L], M],
    save: Callable[[L, M, float], Any],
    fail: Callable[[Sample, str, float], Any],
    *,
    size: Callable[[L], int] = lambda _: 0,
    prefetch: int = 2,
    readers: int = 2,
    writers: int = 2,
) -> None:
    """Process every sample with ``make``, while threads load later samples and save earlier results.

    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt once pending writes are finished.

    Args:
        samples: the samples, processed in this order.
        load: reads a sample; called from threads.
        make: processes a loaded sample; called from this thread only.
        save: called from threads with the loaded sample, the result of ``make``, and the seconds it took.
        fail: called from threads with a sample that could not be loaded or processed, the error, and the seconds.
        size: what a loaded sample holds in bytes; of large images fewer results wait to be saved.
        prefetch: number of samples to load ahead.
        readers, writers: number of threads that load and save.

    Raises:
        WsssError: an error that would affect every image.
        OSError: from ``save`` or ``fail``.
    """
    # Only the writer's threads write, so an interrupt of this thread cannot truncate a line.
    with (
        interruptible() as asked,
        BackgroundWriter[None](workers=writers, depth=2 * writers) as writer,
        closing(prefetch_map(load, samples, workers=readers, depth=max(prefetch, readers))) as images,
    ):
        for sample, image in images:
            if asked():
                raise KeyboardInterrupt
            begin = time.monotonic()
            try:
                loaded = image.result()
                begin = time.monotonic()
                made = make(loaded)
            except Exception as error:
                if asked():
                    raise KeyboardInterrupt from None
                if isinstance(error, WsssError) and not isinstance(error, ImageError):
                    raise
                log.debug("%s failed", sample.id, exc_info=True)
                writer.submit(fail, sample, _describe(error), time.monotonic() - begin)
            else:
                seconds = time.monotonic() - begin
                log.debug("%s: %.2f s", sample.id, seconds)
                writer.submit(save, loaded, made, seconds, size=size(loaded))


def _describe(error: Exception) -> str:
    if isinstance(error, ImageError):
        return str(error)
    return out_of_memory(error) or f"{type(error).__name__}: {error}"
