"""The loop over many images: read ahead, made one by one, written behind, and a bad one does not stop it."""

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
    prefetch: int = 2,
) -> None:
    """``make`` something of every sample, while later ones are loaded and earlier ones saved in threads.

    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt here, after the writes under way are finished.

    Args:
        samples: in this order.
        load: reads a sample; called from threads.
        make: works on it; called from this thread only.
        save: is given what was loaded, what was made and the seconds it took; called from threads.
        fail: is given a sample that could not be loaded or made, why, and the seconds; called from threads.
        prefetch: how many samples to load ahead.

    Raises:
        WsssError: what is wrong is not about one image, so the others would end the same way.
        OSError: from ``save`` or ``fail``.
    """
    # Nothing is written from this thread, so that an interrupt cannot tear a line.
    with (
        interruptible() as asked,
        BackgroundWriter[None](workers=2, depth=4) as writer,
        closing(prefetch_map(load, samples, workers=2, depth=prefetch)) as images,
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
                writer.submit(save, loaded, made, time.monotonic() - begin)


def _describe(error: Exception) -> str:
    if isinstance(error, ImageError):
        return str(error)
    return out_of_memory(error) or f"{type(error).__name__}: {error}"
