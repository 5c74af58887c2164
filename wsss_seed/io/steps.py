"""Steps that take long and are not counted in images, such as loading a model or a download.

They are log records of level INFO from this module's logger. A library does not print by itself; a command line shows
the records and names the console for bars.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

log = logging.getLogger(__name__)
_console = Console(stderr=True, quiet=True)


def show_bars_on(console: Console | None) -> None:
    """From now on bars of such steps appear on this console; on none with None. For command lines."""
    global _console
    _console = console or Console(stderr=True, quiet=True)


def bar_console() -> Console | None:
    """The console for a bar: a terminal that ``show_bars_on`` named; None if there is none."""
    return _console if _console.is_terminal and not _console.quiet else None


@contextmanager
def timed(text: str, *, level: int = logging.INFO) -> Iterator[None]:
    """Log the beginning of a step at ``level``, and the time it took at DEBUG."""
    log.log(level, "%s", text)
    start = time.monotonic()
    yield
    log.debug("%s took %.2f s", text, time.monotonic() - start)
