"""What goes to the terminal: results on standard output, messages on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table

from ..errors import UsageError, on_command_line

_GONE = {errno.EPIPE, errno.EIO}  # the reader has ended, the terminal is closed


class _Stream:
    """A standard stream for as long as somebody is there to read it. After that it takes everything and keeps nothing:
    the work that it reports continues, and has its own exit status."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream(), attribute)

    @property
    def rich_proxied_file(self) -> _Stream:
        """While a progress bar is shown rich asks for what is behind its own stand-in for the stream: this."""
        return self

    def _stream(self) -> Any:
        stream = getattr(sys, self._name)  # looked up each time, for it can be redirected
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        try:
            return int(self._stream().write(text))
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream().flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream().fileno())  # or Python would try to write its buffer again, and complain
        os.close(nowhere)
        if error.errno not in _GONE:
            raise UsageError(f"{self._name}: cannot be written ({error.strerror}); send it elsewhere") from None


_stdout = _Stream("stdout")
out = Console(file=cast(IO[str], _stdout), highlight=False, soft_wrap=True)
err = Console(file=cast(IO[str], _Stream("stderr")), stderr=True, highlight=False, soft_wrap=True)


def message(text: str) -> None:
    err.print(text, markup=False)


def warning(text: str) -> None:
    err.print(f"warning: {on_command_line(text)}", style="yellow", markup=False)


def error(text: str) -> None:
    err.print(f"error: {on_command_line(text)}", style="red", markup=False)


def failures(failed: Sequence[tuple[str, str]], *, before: str = "", more: str = "") -> None:
    """Tell of the images that failed, each by its id and error; of many only the first.

    Args:
        failed: id and error.
        before: begins each line.
        more: ends the line about those that are not told of.
    """
    for name, text in failed[:20]:
        error(before + (text if name in text else f"{name}: {text}"))
    if len(failed) > 20:
        error(f"{before}and {len(failed) - 20} more{more}")


def result(text: str) -> None:
    out.print(text, markup=False)


def as_json(value: Any) -> None:
    _stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def finish() -> None:
    """Hand over what is still in a buffer. Raises WsssError if standard output does not take it."""
    _stdout.flush()


def percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; columns of figures are right-aligned."""
    t = Table(title=title, title_justify="left")
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        figures = all(c == "-" or c.replace(".", "", 1).isdigit() for c in cells)
        t.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        t.add_row(*row)
    out.print(t, markup=False)
