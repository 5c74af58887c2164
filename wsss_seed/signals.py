"""Being told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, with which schedulers end a job, interrupts like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def told_to_end(handler: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call ``handler`` and interrupt nothing here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    former = [signal.signal(kind, lambda *_: handler()) for kind in kinds]
    try:
        yield
    finally:
        for kind, before in zip(kinds, former, strict=True):
            signal.signal(kind, before)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM only note that the work is to stop, for work that must not be left halfway.

    Yields what tells whether it is to stop. A second Ctrl-C interrupts at once.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    former = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)
