"""Text in pictures: a legend of the classes, and names that fit."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from .font import Font

_GAP, _LINE = 8, 22


def class_legend(entries: Sequence[tuple[tuple[int, int, int], str]], width: int, font: Font) -> Image.Image:
    """A swatch with a name for each class, in as many lines as they need; of height 0 without any.

    Args:
        entries: RGB colour and name.
        width: of the picture in pixels.
        font: for the names.
    """
    places, x, line = [], _GAP, 0
    for _, name in entries:
        needed = 20 + round(font.getlength(printable(name))) + 2 * _GAP
        if x > _GAP and x + needed > width:
            x, line = _GAP, line + 1
        places.append((x, line))
        x += needed
    picture = Image.new("RGB", (width, (line + 1) * _LINE + _GAP if entries else 0), "white")
    canvas = ImageDraw.Draw(picture)
    for (colour, name), (left, line) in zip(entries, places, strict=True):
        middle = _GAP // 2 + line * _LINE + _LINE // 2
        canvas.rectangle((left, middle - 6, left + 12, middle + 6), colour, "#888888")
        canvas.text((left + 20, middle), printable(name), "black", font, anchor="lm")
    return picture


def without_beginning(text: str, font: Font, width: int) -> str:
    """A name that fits into a width, without its beginning if it is too long: the end tells images apart."""
    text = printable(text)
    while len(text) > 1 and font.getlength(text) > width:
        text = "…" + text[2:]
    return text


def without_end(text: str, font: Font, width: int) -> str:
    """A text that fits into a width, without its end if it is too long."""
    text = printable(text)
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text


def printable(text: str) -> str:
    """A text on one line: the font would draw control characters, or start new lines."""
    return "".join(c if c.isprintable() else "?" for c in text)
