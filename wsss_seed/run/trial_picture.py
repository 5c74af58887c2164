"""Pictures of a trial: photographs with masks and boxes, a row per photograph and a column per settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ..data.classes import IGNORE, ClassSet
from ..io.boxes import Style, legible_scale, paint_boxes, styles_legend
from ..io.font import font_for
from ..io.legend import class_legend, without_beginning, without_end
from ..io.overlay import IGNORE_COLOUR, draw_outlines, overlay
from .explain import STYLES
from .trial import Tried

_WIDEST = 3600  # pixels of all columns together
_LONGEST, _SEVERAL = 1400, 1000  # pixels of the longer side of a photograph, alone and with other rows or columns
_GAP, _LINE, _FONT = 8, 26, 16
_OPACITY = 0.45


@dataclass(frozen=True)
class Cell:
    """A photograph with its mask and boxes.

    Attributes:
        picture: RGB.
        labels: the labels in the mask.
        styles: the styles of the boxes.
    """

    picture: Image.Image
    labels: frozenset[int]
    styles: frozenset[Style]


@dataclass(frozen=True)
class Row:
    """A photograph, once for each settings."""

    name: str
    cells: tuple[Cell, ...]


def draw_cell(tried: Tried, palette: Sequence[tuple[int, int, int]], *, alone: bool = True, columns: int = 1) -> Cell:
    """Draw a photograph with its mask, the borders between labels, and all boxes with class and score.

    Args:
        tried: the photograph and what was found.
        palette: RGB colours by label.
        alone: whether there will be neither other rows nor columns.
        columns: number of columns of the picture.
    """
    height, width = tried.seed.labels.shape
    longest = min(_LONGEST if alone else _SEVERAL, _WIDEST // columns)
    scale = legible_scale(height, width, longest)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Large images are reduced first, because the colours of all their pixels would take much memory.
    image = np.asarray(Image.fromarray(tried.image).resize(size, Image.Resampling.BICUBIC))
    labels = np.asarray(Image.fromarray(tried.seed.labels).resize(size, Image.Resampling.NEAREST))
    picture = overlay(image, labels, palette, _OPACITY)
    draw_outlines(picture, labels)
    boxes = tried.explanation.drawn_boxes(palette)
    paint_boxes(picture, boxes, (height, width), size)
    return Cell(picture, frozenset(np.unique(tried.seed.labels).tolist()), frozenset(box.style for box in boxes))


def draw_trial(rows: Sequence[Row], captions: Sequence[str], class_set: ClassSet) -> Image.Image:
    """Put rows below each other, with the captions of the columns above, and a legend below.

    Args:
        rows: at least one, each with a cell per column.
        captions: of the columns; with a single column it is left out.
        class_set: for the legend.
    """
    widths = [max(row.cells[k].picture.width for row in rows) for k in range(len(captions))]
    width = max(sum(widths) + _GAP * (len(widths) + 1), 480 + 2 * _GAP)
    cells = [cell for row in rows for cell in row.cells]
    labels = sorted(frozenset().union(*(cell.labels for cell in cells)))
    entries = [(class_set.palette[label], class_set.names[label - 1]) for label in labels if 0 < label < IGNORE]
    entries += [(IGNORE_COLOUR, "ignored")] if IGNORE in labels else []
    font = font_for((*(name for _, name in entries), *captions, *(row.name for row in rows)), _FONT)
    shown = frozenset().union(*(cell.styles for cell in cells))
    legends = [
        class_legend(entries, width, font),
        styles_legend([(style, text) for style, text in STYLES.values() if style in shown]),
    ]
    heights = [max(cell.picture.height for cell in row.cells) for row in rows]
    top = _LINE if len(captions) > 1 else 0
    height = top + sum(h + _LINE + _GAP for h in heights) + sum(legend.height for legend in legends)
    picture = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(picture)
    lefts = [_GAP + sum(widths[:k]) + _GAP * k for k in range(len(widths))]
    if top:
        for caption, left, w in zip(captions, lefts, widths, strict=True):
            canvas.text((left, top // 2), without_end(caption, font, w), "black", font, anchor="lm")
    y = top
    for row, h in zip(rows, heights, strict=True):
        name = without_beginning(row.name, font, width - 2 * _GAP)
        canvas.text((_GAP, y + _LINE // 2), name, "#555555" if top else "black", font, anchor="lm")
        y += _LINE
        for cell, left in zip(row.cells, lefts, strict=True):
            picture.paste(cell.picture, (left, y))
        y += h + _GAP
    for legend in legends:
        picture.paste(legend, (0, y))
        y += legend.height
    return picture
