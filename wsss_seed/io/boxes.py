"""Boxes with labels drawn on an image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from .font import Font, font_for

Style = Literal["solid", "dashed", "dotted"]
Colour = tuple[int, int, int]

_SHORTEST, _LONGEST = 1000, 2000
"""Range of the longer side of the picture: text stays legible on small images, and large images stay handy."""

_DASHES: dict[Style, tuple[int, int]] = {"solid": (1, 0), "dashed": (16, 8), "dotted": (4, 6)}
"""Lengths of dash and gap in pixels of the picture."""


@dataclass(frozen=True)
class DrawnBox:
    """A box to draw.

    Attributes:
        box: x0 y0 x1 y1 in pixels of the image.
        text: its label.
        colour: RGB.
        style: of its outline.
    """

    box: tuple[float, float, float, float]
    text: str
    colour: Colour
    style: Style


def draw_boxes(image: np.ndarray, boxes: Sequence[DrawnBox], legend: Sequence[tuple[Style, str]] = ()) -> Image.Image:
    """The image with boxes, the first ones on top, and below it what the styles mean.

    The picture is scaled such that its longer side has 1000 to 2000 pixels.

    Args:
        image: uint8 (H, W, 3) RGB.
        boxes: the boxes; clipped to the image.
        legend: style and meaning.
    """
    scale = legible_scale(image.shape[0], image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    below = styles_legend(legend)
    picture = Image.new("RGB", (max(size[0], below.width), size[1] + below.height), "white")
    picture.paste(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), (0, 0))
    paint_boxes(picture, boxes, (image.shape[0], image.shape[1]), size)
    picture.paste(below, (0, size[1]))
    return picture


def legible_scale(height: int, width: int, longest: int = _LONGEST) -> float:
    """The factor by which an image is resized such that its longer side has 1000 pixels to ``longest``, which may be
    fewer than 1000."""
    side = max(height, width)
    return min(max(1.0, _SHORTEST / side), longest / side)


def paint_boxes(picture: Image.Image, boxes: Sequence[DrawnBox], image: tuple[int, int], size: tuple[int, int]) -> None:
    """Draw boxes on the upper left part of a picture, which shows the image; the first ones are on top.

    Args:
        picture: RGB, drawn on.
        boxes: the boxes in pixels of the image; clipped to it.
        image: its height and width.
        size: width and height of that part.
    """
    height, width = image
    scale, font = size[0] / width, font_for((b.text for b in boxes), 16)
    canvas = ImageDraw.Draw(picture)
    scaled = [(np.clip(b.box, 0, [width, height] * 2) * scale).tolist() for b in boxes]
    for b, (x0, y0, x1, y1) in reversed(list(zip(boxes, scaled, strict=True))):
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        for start, end in itertools.pairwise(corners):
            _stroke(canvas, start, end, b.colour, b.style)
    taken: list[tuple[float, float, float, float]] = []
    for b, (x0, y0, _, y1) in zip(boxes, scaled, strict=True):
        _label(canvas, font, b, (x0, y0, y1), size, taken)


def styles_legend(legend: Sequence[tuple[Style, str]]) -> Image.Image:
    """What the styles of outlines mean, a line for each."""
    font, line = font_for((text for _, text in legend), 16), 26
    picture = Image.new("RGB", (480, line * len(legend)), "white")
    canvas = ImageDraw.Draw(picture)
    for row, (style, text) in enumerate(legend):
        y = line * row + line // 2
        _stroke(canvas, (12, y), (72, y), (40, 40, 40), style)
        canvas.text((84, y), text, "black", font, anchor="lm")
    return picture


def _stroke(
    canvas: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: Colour, style: Style
) -> None:
    """A straight line with an edge that is dark or light, so that it is visible on any image."""
    for ink, width in (((255, 255, 255) if _dark(colour) else (0, 0, 0), 5), (colour, 3)):
        for a, b in _dashes(start, end, style):
            canvas.line([a, b], ink, width)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], style: Style
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0))
    dash, gap = _DASHES[style]
    if not gap or not length:
        yield start, end
        return
    for position in np.arange(0, length, dash + gap):
        a, b = position / length, min(position + dash, length) / length
        yield (x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)


def _label(
    canvas: ImageDraw.ImageDraw,
    font: Font,
    b: DrawnBox,
    place: tuple[float, float, float],
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """The label above the box, or at the nearest free place further down its left edge."""
    x0, top, bottom = place
    width, height = canvas.textlength(b.text, font) + 8, 22
    x = min(max(0.0, x0), max(0.0, size[0] - width))
    rows = [top - height, *np.arange(top, max(bottom, top + 1), height), *np.arange(0, size[1] - height, height)]
    for y in rows:
        spot = (x, float(y), x + width, float(y) + height)
        if 0 <= y <= size[1] - height and not any(_overlap(spot, other) for other in taken):
            break
    else:
        spot = (x, max(0.0, top), x + width, max(0.0, top) + height)
    taken.append(spot)
    canvas.rectangle(spot, b.colour)
    canvas.text((spot[0] + 4, spot[1] + 11), b.text, "white" if _dark(b.colour) else "black", font, anchor="lm")


def _dark(colour: Colour) -> bool:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
