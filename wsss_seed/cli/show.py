"""What goes to the terminal: results on standard output, messages on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def message(text: str) -> None:
    err.print(text, markup=False)


def warning(text: str) -> None:
    err.print(f"warning: {text}", style="yellow", markup=False)


def error(text: str) -> None:
    err.print(f"error: {text}", style="red", markup=False)


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
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


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
