"""Terminal output: results on standard output, messages on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table

from ..errors import UsageError, on_command_line

if TYPE_CHECKING:
    from ..data.base import Dataset

_GONE = {errno.EPIPE, errno.EIO}  # the reader exited or the terminal was closed


class _Stream:
    """A standard stream that discards its output once the reader has gone, so that the command can finish and return
    its own exit status."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream(), attribute)

    @property
    def rich_proxied_file(self) -> _Stream:
        """rich asks for this while a progress bar replaces the stream with a proxy."""
        return self

    def _stream(self) -> Any:
        stream = getattr(sys, self._name)  # looked up each time because it can be redirected
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
        os.dup2(nowhere, self._stream().fileno())  # otherwise Python would retry writing its buffer at exit and fail
        os.close(nowhere)
        if error.errno not in _GONE:
            raise UsageError(f"{self._name}: cannot be written ({error.strerror}); redirect it elsewhere") from None


_stdout = _Stream("stdout")
out = Console(file=cast(IO[str], _stdout), highlight=False, soft_wrap=True)
_stderr = cast(IO[str], _Stream("stderr"))
err = Console(file=_stderr, stderr=True, highlight=False, soft_wrap=True)  # for messages; quiet with --quiet
_errors = Console(file=_stderr, stderr=True, highlight=False, soft_wrap=True)


def message(text: str) -> None:
    err.print(on_command_line(text), markup=False)


def warning(text: str) -> None:
    err.print(f"warning: {on_command_line(text)}", style="yellow", markup=False)


def error(text: str) -> None:
    _errors.print(f"error: {on_command_line(text)}", style="red", markup=False)


def remarks(data: Dataset) -> None:
    """Print the remarks of a dataset and the phrases that several of its classes have."""
    from ..data.classes import shared_phrases

    for text in data.remarks:
        message(text)
    for text in shared_phrases(data.class_set):
        warning(text)


def failures(failed: Sequence[tuple[str, str]], *, before: str = "", more: str = "") -> None:
    """Print the first 20 failed images with their errors, and the number of the others.

    Args:
        failed: id and error per image.
        before: prefix of each line.
        more: suffix of the line that counts the others.
    """
    for name, text in failed[:20]:
        error(before + (text if name in text else f"{name}: {text}"))
    if len(failed) > 20:
        error(f"{before}and {len(failed) - 20} more{more}")


def result(text: str) -> None:
    out.print(text, markup=False)


def sequence(text: str) -> None:
    """Write escape sequences, which must not be wrapped or styled, to standard output at once."""
    _stdout.write(text)
    _stdout.flush()


def as_json(value: Any) -> None:
    _stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def finish() -> None:
    """Flush standard output. Raises WsssError if it cannot be written."""
    _stdout.flush()


def percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def signed(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; numeric columns are right-aligned."""
    t = Table(title=title, title_justify="left")
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        figures = all(c == "-" or c.replace(".", "", 1).isdigit() for c in cells)
        t.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        t.add_row(*row)
    out.print(t, markup=False)
