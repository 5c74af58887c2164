"""Small text files as people write them: with or without byte order mark, with any line ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import WsssError


def read_text(path: Path) -> str:
    """A UTF-8 text file without byte order mark, its lines ended by ``\\n``.

    Raises:
        WsssError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise WsssError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as e:
        raise WsssError(f"{path}: cannot be read ({e.strerror or e})") from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, stripped, each with its number from 1. Raises as ``read_text``."""
    lines = ((n, line.strip()) for n, line in enumerate(read_text(path).split("\n"), 1))
    return [(n, line) for n, line in lines if line]


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        WsssError: the file cannot be read, is not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as e:
        raise WsssError(f"{path}: cannot be read ({e.strerror or e})") from None
    except (ValueError, RecursionError) as e:
        raise WsssError(f"{path}: not valid JSON ({e})") from None
