"""The loop over many images: read ahead, process one by one, write behind, and isolate images that fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar

from ..data.base import Sample
from ..errors import ImageError, WsssError, out_of_memory
from ..io.prefetch import BackgroundWriter, prefetch_map
from ..io.signals import interruptible
from ..models.merging import in_groups

log = logging.getLogger(__name__)

_AHEAD, _AHEAD_BYTES = 4, 2**28  # batches among which images of the same shape are looked for

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
    shape: Callable[[L], tuple[int, ...]] = lambda _: (),
    prefetch: int = 2,
    readers: int = 2,
    writers: int = 2,
    batch: int = 1,
) -> None:
    """Process every sample with ``make``, while threads load later samples and save earlier results.

    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt once pending writes are finished.

    Args:
        samples: the samples, processed in this order.
        load: reads a sample; called from threads.
        make: processes a loaded sample; called from this thread, or from threads if ``batch`` is more than 1.
        save: called from threads with the loaded sample, the result of ``make``, and the seconds it took.
        fail: called from threads with a sample that could not be loaded or processed, the error, and the seconds.
        size: what a loaded sample holds in bytes; of large images fewer are in memory.
        shape: of a loaded sample; models process only images of the same shape in one pass.
        prefetch: number of samples to load ahead.
        readers, writers: number of threads that load and save.
        batch: number of samples processed together, see ``models.merging``: with several, those of the same shape among
            the next ones.

    Raises:
        WsssError: an error that would affect every image.
        OSError: from ``save`` or ``fail``.
    """
    # Only the writer's threads write, so an interrupt of this thread cannot truncate a line.
    with (
        interruptible() as asked,
        BackgroundWriter[None](workers=writers, depth=2 * writers) as writer,
        closing(prefetch_map(load, samples, workers=readers, depth=max(prefetch, readers, 2 * batch))) as images,
    ):

        def loaded_samples() -> Iterator[tuple[Sample, L]]:
            for sample, image in images:
                if asked():
                    raise KeyboardInterrupt
                begin = time.monotonic()
                try:
                    loaded = image.result()
                except Exception as error:
                    give_up(sample, error, time.monotonic() - begin)
                else:
                    yield sample, loaded

        def give_up(sample: Sample, error: BaseException, seconds: float) -> None:
            if asked():
                raise KeyboardInterrupt from None
            if isinstance(error, WsssError) and not isinstance(error, ImageError):
                raise error
            log.debug("%s failed", sample.id, exc_info=error)
            writer.submit(fail, sample, _describe(error), seconds)

        ordered = loaded_samples()
        if batch > 1:
            ordered = _by_shape(ordered, _AHEAD * batch, lambda pair: size(pair[1]), lambda pair: shape(pair[1]))
        with closing(in_groups(lambda pair: make(pair[1]), ordered, batch)) as done:
            for (sample, loaded), outcome in done:
                error = outcome.future.exception()
                if error is None:
                    log.debug("%s: %.2f s", sample.id, outcome.seconds)
                    writer.submit(save, loaded, outcome.future.result(), outcome.seconds, size=size(loaded))
                else:
                    give_up(sample, error, outcome.seconds)


def _by_shape(
    items: Iterator[M], count: int, size: Callable[[M], int], shape: Callable[[M], tuple[int, ...]]
) -> Iterator[M]:
    """Items reordered by shape, ``count`` of them at a time, or fewer if they are large."""
    window: list[M] = []
    for item in items:
        window.append(item)
        if len(window) == count or sum(map(size, window)) > _AHEAD_BYTES:
            yield from sorted(window, key=shape)
            window = []
    yield from sorted(window, key=shape)


def _describe(error: BaseException) -> str:
    if isinstance(error, ImageError):
        return str(error)
    return out_of_memory(error) or f"{type(error).__name__}: {error}"
