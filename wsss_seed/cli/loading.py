"""A line before the libraries load, which takes many seconds the first time on a slow machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

from . import show

_SLOWEST = "torch"
"""The first of the slow libraries that a command imports, if it needs any."""


class _Announcer(MetaPathFinder):
    """Finds no module, but sees the first import of the slowest library."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == _SLOWEST:
            _forget(self)
            show.message("loading libraries")


def _forget(announcer: MetaPathFinder) -> None:
    if announcer in sys.meta_path:
        sys.meta_path.remove(announcer)


def announce() -> Callable[[], None]:
    """From now on a terminal shows when libraries begin to load; returns a function that ends this."""
    announcer = _Announcer()
    if show.err.is_terminal and _SLOWEST not in sys.modules:
        sys.meta_path.insert(0, announcer)
    return lambda: _forget(announcer)
