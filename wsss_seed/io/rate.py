"""The rate of a long computation, measured on its latest items, and the time that is left."""

from __future__ import annotations

from collections import deque

_LATEST = 200  # items on which the rate is measured


class Rate:
    """Measures seconds per item.

    The first item is not counted, because it includes loading and compiling. The mean of the latest 200 items follows
    a change of speed, and differences between items average out.
    """

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=_LATEST + 1)

    def add(self, now: float) -> None:
        """Count an item that ended at the time ``now`` in seconds."""
        self._ends.append(now)

    @property
    def measured(self) -> int:
        """Number of items on which the rate is measured."""
        return max(0, len(self._ends) - 1)

    @property
    def seconds(self) -> float | None:
        """Seconds per item; None before the second item."""
        return (self._ends[-1] - self._ends[0]) / self.measured if self.measured else None


def per_item(seconds: float, unit: str) -> str:
    """Seconds per item as a rate, such as ``2.5 images/s`` or ``7.6 s/image``."""
    return f"{1 / max(seconds, 1e-9):.1f} {unit}s/s" if seconds < 1 else f"{seconds:.1f} s/{unit}"


def duration(seconds: float) -> str:
    """A duration with two units at most, such as ``45 s``, ``12 min``, ``3 h 20 min`` or ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
