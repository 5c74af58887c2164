"""Progress on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from .rate import Rate, duration, per_item
from .text import counted

_FEW = 5  # items measured before the time is estimated
_LONG = 300.0  # seconds left from which the estimate is worth a line of its own
_FIRST_LINE, _LAST_PAUSE = 30.0, 600.0  # seconds before the first line without a terminal, and the longest between two


class Reporter(Protocol):
    """Receives the progress of a run; see ``Progress``."""

    def start(self, total: int, finished: int) -> None: ...

    def step(self, *, failed: bool = False) -> None: ...

    def warn(self, text: str) -> None: ...

    def stop(self) -> None: ...


class _Bars(Bars):
    """Bars with a note below them."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield Text(f"  {self.note}", no_wrap=True, overflow="ellipsis")


class Progress:
    """Shows the number of finished items, rate, time left and failures.

    In a terminal this is a bar. Elsewhere it is a line at the start and at the end, and in between after half a minute
    and then at growing intervals, at least every ten minutes. Once a few items have been measured, a line estimates the
    time for the rest if it exceeds five minutes. ``step`` may be called from threads.

    Args:
        console: where to print; standard error by default.
        verb: what is being done.
        unit: singular noun of the items.
        clock: the time in seconds.
    """

    def __init__(
        self,
        console: Console | None = None,
        verb: str = "seeding",
        unit: str = "image",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb, self._unit, self._clock = verb, unit, clock
        self._console = console or Console(stderr=True)
        self._bar: _Bars | None = None
        self._outer: Progress | None = None
        self._note = ""
        self._running = self._estimated = False
        self._total = self._done = self._failed = 0
        self._start = self._next_line = 0.0
        self._rate = Rate()
        self._lock = threading.Lock()
        self._warned: set[str] = set()

    def start(self, total: int, finished: int, processed: Sequence[bool] = ()) -> None:
        """Begin with ``total`` items.

        Args:
            total: number of items.
            finished: how many of them were already done earlier.
            processed: for each item processed since, whether it failed; these do not count for the rate.
        """
        self._total, self._done, self._failed = total, finished + len(processed), sum(processed)
        self._running, self._start, self._rate, self._estimated = True, self._clock(), Rate(), False
        self._next_line = self._start + _FIRST_LINE
        if not self._console.is_terminal:
            if self._outer is None:
                before = f", {finished} of them already finished" if finished else ""
                self._say(f"{self._verb} {counted(total, self._unit)}{before}")
            return
        shared = None if self._outer is None else self._outer._bar
        self._bar = shared or _Bars(
            TextColumn("{task.description}"),
            BarColumn(None, table_column=Column(max_width=40)),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[failures]}", style="red"),
            console=self._console,
            redirect_stdout=False,  # standard output is for results
        )
        self._task = self._bar.add_task(
            self._verb, total=total, completed=self._done, failures=self._failures(), speed=""
        )
        if shared is None:
            self._bar.start()

    @contextmanager
    def within(self, verb: str, unit: str, total: int) -> Iterator[Progress]:
        """Progress of a long step between two items, such as a validation: a second bar, or lines if it takes long.

        Args:
            verb: what is being done.
            unit: singular noun of its items.
            total: number of its items.
        """
        inner = Progress(self._console, verb, unit, self._clock)
        inner._outer = self
        inner.start(total, 0)
        try:
            yield inner
        finally:
            inner.stop()

    def warn(self, text: str) -> None:
        """Print a warning, each text only once."""
        if text not in self._warned:
            self._warned.add(text)
            self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def step(self, *, failed: bool = False, note: str = "") -> None:
        """Count a finished item; ``note`` is shown beside the rate, such as the current loss."""
        with self._lock:
            now = self._clock()
            self._note = note
            self._done += 1
            self._failed += failed
            self._rate.add(now)
            if self._bar is not None:
                self._bar.note = note or self._bar.note
                self._bar.update(self._task, advance=1, speed=", ".join(self._speed()), failures=self._failures())
            estimated = self._estimate()
            if self._bar is None and now >= self._next_line and self._done < self._total:
                self._next_line = now + min(max(now - self._start, _FIRST_LINE), _LAST_PAUSE)
                if not estimated:
                    self._say(", ".join(filter(None, [self._count(), *self._speed(), self._note, self._failures()])))

    def stop(self) -> None:
        """End, also after an error or an interrupt."""
        if self._bar is not None:
            if self._outer is not None and self._bar is self._outer._bar:
                self._bar.remove_task(self._task)
            else:
                self._bar.stop()
            self._bar = None
        elif self._running and self._outer is None:
            took = f"{self._count()} done in {self._clock() - self._start:.1f} s"
            self._say(", ".join(filter(None, [took, self._failures()])))
        self._running = False

    def _count(self) -> str:
        return f"{self._done} of {counted(self._total, self._unit)}"

    def _failures(self) -> str:
        return f"{self._failed} failed" if self._failed else ""

    def _speed(self) -> list[str]:
        """Rate and time left; empty before they are known."""
        seconds = self._rate.seconds
        if seconds is None:
            return []
        left = max(0, self._total - self._done) * seconds
        return [per_item(seconds, self._unit), f"{duration(left)} left"]

    def _estimate(self) -> bool:
        """Print the estimated time once a few items have been measured, if the rest takes long."""
        seconds, rest = self._rate.seconds, self._total - self._done
        if self._estimated or seconds is None or self._rate.measured < _FEW:
            return False
        self._estimated = True
        if rest * seconds < _LONG:
            return False
        self._say(
            f"the remaining {counted(rest, self._unit)} will take about {duration(rest * seconds)} "
            f"({per_item(seconds, self._unit)}, measured on the first {self._rate.measured + 1})"
        )
        return True

    def _say(self, text: str) -> None:
        before = f"{self._verb}: " if self._outer is not None else ""
        self._console.print(before + text, markup=False, highlight=False, soft_wrap=True)
