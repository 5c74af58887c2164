"""The standard scene: one to four objects side by side, sometimes with plain shapes behind them."""

from __future__ import annotations

import numpy as np

from .background import PLACES, jitter
from .figures import SCALE, Figure, figure
from .raster import Patch, cos, fill, sin
from .shapes import CLASSES, COLOURS, Rng

_AT_HOME = 0.5  # share of objects that belong to their place


def size(d: Rng) -> tuple[int, int]:
    """Height and width of an image in pixels."""
    long = 112 + d.below(49)
    short = int(long * d.uniform(0.66, 1.0))
    return (short, long) if d.chance(0.65) else (long, short)


def figures(d: Rng, place: str, height: int, width: int) -> list[Figure]:
    """The figures of a scene, back to front."""
    clutter = []
    if d.chance(0.35):
        for _ in range(1 + d.below(4)):
            patch = _distractor(d, height * SCALE, width * SCALE)
            colour = d.pick(list(COLOURS))
            clutter.append(Figure(None, colour, [(patch, jitter(d, COLOURS[colour]), 0, False)]))
    return clutter + _objects(d, place, height, width)


def _objects(d: Rng, place: str, height: int, width: int) -> list[Figure]:
    count = 1 + d.weighted((0.3, 0.3, 0.25, 0.15))
    short = min(height, width)
    home = PLACES[place][1]
    placed: list[tuple[float, float, float]] = []
    placed_figures = []
    for _ in range(count):
        name = d.pick(home) if home and d.chance(_AT_HOME) else d.pick(CLASSES)
        radius = short * (d.uniform(0.15, 0.4) if count < 3 else d.uniform(0.13, 0.29))
        for _ in range(12):
            x = d.uniform(0.7 * radius, width - 0.7 * radius)
            y = d.uniform(0.7 * radius, height - 0.7 * radius)
            if all((x - a) ** 2 + (y - b) ** 2 > (0.62 * (radius + r)) ** 2 for a, b, r in placed):
                break
        else:
            if placed:
                continue
        placed.append((x, y, radius))
        placed_figures.append(figure(d, name, x, y, radius, height, width))
    return placed_figures


def _distractor(d: Rng, h: int, w: int) -> Patch:
    """A shape of no class: a blob, a bar or a segment of a ring."""
    x, y, r = d.uniform(0, w), d.uniform(0, h), d.uniform(6, 28)
    kind = d.below(3)
    if kind == 0:
        turns = np.sort(d.array(3 + d.below(5)))
        points = np.stack([x + r * cos(turns), y + r * sin(turns)], 1)
    elif kind == 1:
        t, half = d.uniform(0, 1), d.uniform(1.5, 6)
        c, s = float(cos(t)), float(sin(t))
        points = np.array(
            [
                (x + a * r * c - b * half * s, y + a * r * s + b * half * c)
                for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
        )
    else:
        turns = d.uniform(0, 1) + d.uniform(0.3, 0.8) * np.arange(12) / 11
        outer = np.stack([x + r * cos(turns), y + r * sin(turns)], 1)
        inner = np.stack([x + 0.6 * r * cos(turns), y + 0.6 * r * sin(turns)], 1)
        points = np.concatenate([outer, inner[::-1]])
    return fill(points, h, w)
