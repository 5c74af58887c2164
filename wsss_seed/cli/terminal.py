"""Pictures in terminals: the graphics protocol of kitty, and iTerm2's inline images.

What a terminal can show follows from the environment. Asking the terminal itself would need its answer from standard
input, where what the user has typed ahead also is, and a wait for terminals that do not answer.
"""

from __future__ import annotations

import io
import math
import os
import sys
from base64 import standard_b64encode
from collections.abc import Iterator, Mapping
from typing import Literal

from PIL import Image

from . import show

Protocol = Literal["kitty", "iterm2"]

_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
_CHUNK = 4096  # bytes of base64 in one sequence of kitty, at most
_CELL = 8  # pixels of the width of a cell, at least; pictures are not enlarged
_LEFT = 3  # lines of the terminal below a picture


def protocol(environment: Mapping[str, str]) -> Protocol | None:
    """How pictures are shown on the terminal of standard output; None if it is none, or not known to show them.

    tmux and screen pass such sequences on only where this is configured.
    """
    term = environment.get("TERM", "")
    if not sys.stdout.isatty() or "TMUX" in environment or term.startswith(("screen", "tmux")):
        return None
    program = environment.get("TERM_PROGRAM", "")
    if term in _KITTY_TERMS or program == "ghostty":
        return "kitty"
    return "iterm2" if program in _ITERM2_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2" else None


def show_picture(picture: Image.Image, how: Protocol) -> None:
    """Show a picture on the terminal of standard output, as large as it fits."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    size = os.get_terminal_size(sys.stdout.fileno())
    columns = columns_of(picture, size.columns or 80, size.lines or 24)  # some terminals do not know their size
    show.sequence("".join(sequences(buffer.getvalue(), columns, how)) + "\n")


def columns_of(picture: Image.Image, columns: int, lines: int) -> int:
    """The width of a picture in columns of a terminal; cells are taken to be twice as high as wide."""
    by_height = 2 * max(1, lines - _LEFT) * picture.width / picture.height
    return max(1, math.floor(min(columns, by_height, picture.width / _CELL)))


def sequences(png: bytes, columns: int, how: Protocol) -> Iterator[str]:
    """The escape sequences for a picture, at the cursor.

    Args:
        png: the picture.
        columns: its width on the terminal; the height follows.
        how: the protocol, https://sw.kovidgoyal.net/kitty/graphics-protocol/ or
            https://iterm2.com/documentation-images.html.
    """
    data = standard_b64encode(png).decode("ascii")
    if how == "iterm2":
        yield f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\a"
        return
    for start in range(0, len(data), _CHUNK):
        last = start + _CHUNK >= len(data)
        first = f"a=T,f=100,q=2,c={columns}," if start == 0 else ""  # q=2: the terminal is not to answer
        yield f"\x1b_G{first}m={0 if last else 1};{data[start : start + _CHUNK]}\x1b\\"
