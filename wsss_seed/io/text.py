"""Counts in words, and readers of small text files, with or without byte order mark and with any line endings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import DataError, one_line
from .source import Source

_DEEPEST = 64  # nesting of a TOML file: far more than anyone writes, far below the recursion limit
_LONGEST = 2**63  # the limit of TOML integers


def read_text(path: Path | Source) -> str:
    """The content of a UTF-8 text file, without byte order mark and with ``\\n`` as line ending.

    Raises:
        WsssError: the file cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as UTF-8") from None


def read_bytes(path: Path | Source) -> bytes:
    """The content of a file. Raises WsssError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None


def counted(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 image`` and ``2 images``."""
    return f"{number} {noun}" + "s" * (number != 1)


def read_lines(path: Path | Source) -> Iterator[tuple[int, str]]:
    """The non-blank lines, stripped, with their line numbers from 1. Raises the errors of ``read_text``, at once."""
    lines = ((n, line.strip()) for n, line in enumerate(StringIO(read_text(path), newline="\n"), 1))
    return ((n, line) for n, line in lines if line)


def read_json(path: Path | Source) -> Any:
    """The value of a JSON file.

    Raises:
        WsssError: the file cannot be read, is not UTF-8 or not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: not valid JSON ({_why(e)})") from None


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """TOML as nested tables.

    Raises:
        WsssError: invalid TOML, nested too deeply, or an integer of more than 64 bits; ``where`` names the file.
    """
    try:
        table = tomllib.loads(text)
        _check_values(table)
    except (ValueError, RecursionError) as e:
        raise DataError(f"{where}: not valid TOML ({_why(e)}); correct it") from None
    return table


def _check_values(table: dict[str, Any]) -> None:
    """Raise ValueError or RecursionError for values that Python's parser accepts but TOML or later code does not."""
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for group in level:
            inner += group.values() if isinstance(group, dict) else group
        if any(isinstance(value, int) and not -_LONGEST <= value < _LONGEST for value in inner):
            raise ValueError("a whole number of more than 64 bits")
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return
    raise RecursionError


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = one_line(error)
    return "a whole number of too many digits" if text.startswith("Exceeds the limit") else text
