"""Progress on standard error: a bar in a terminal, a line at start and end elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        unit = task.fields["unit"]
        return Text(f"{task.speed:.1f} {unit}s/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s/{unit}")


class Reporter(Protocol):
    """Receives the progress of a run; see ``Progress``."""

    def start(self, total: int, finished: int) -> None: ...

    def step(self, *, failed: bool = False) -> None: ...

    def warn(self, text: str) -> None: ...

    def stop(self) -> None: ...


class Progress:
    """Shows the number of finished items, rate, remaining time and failures. ``step`` may be called from threads.

    Args:
        console: where to print; standard error by default.
        verb: what is being done.
        unit: singular noun of the items.
    """

    def __init__(self, console: Console | None = None, verb: str = "seeding", unit: str = "image") -> None:
        self._verb, self._unit = verb, unit
        self._console = console or Console(stderr=True)
        self._bar: Bar | None = None
        self._total = self._done = self._failed = 0
        self._start = 0.0
        self._warned: set[str] = set()

    def start(self, total: int, finished: int) -> None:
        """Begin with ``total`` items, ``finished`` of which are already done."""
        self._total, self._done, self._failed, self._start = total, finished, 0, time.monotonic()
        if not self._console.is_terminal:
            before = f", {finished} of them already finished" if finished else ""
            self._say(f"{self._verb} {total} {self._unit}s{before}")
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}", style="red"),
            console=self._console,
            redirect_stdout=False,  # standard output is for results
        )
        self._task = self._bar.add_task(self._verb, total=total, completed=finished, failures="", unit=self._unit)
        self._bar.start()

    def warn(self, text: str) -> None:
        """Print a warning, each text only once."""
        if text not in self._warned:
            self._warned.add(text)
            self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def step(self, *, failed: bool = False) -> None:
        """Count a finished item."""
        self._done += 1
        self._failed += failed
        if self._bar is not None:
            self._bar.update(self._task, advance=1, failures=f"{self._failed} failed" if self._failed else "")

    def stop(self) -> None:
        """End, also after an error or an interrupt."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._start:
            seconds = time.monotonic() - self._start
            failures = f", {self._failed} failed" if self._failed else ""
            self._say(f"{self._done} of {self._total} {self._unit}s done in {seconds:.1f} s{failures}")
        self._start = 0.0

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
