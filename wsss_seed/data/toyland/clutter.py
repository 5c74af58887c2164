"""The clutter of hard scenes: outlines of no class, which resemble the classes in their parts and colours.

Like those of classes, they lie in a square from -1 to 1, y pointing down, as lists of parts drawn back to front.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .raster import cos, sin
from .shapes import BASE, DARK, LIGHT, SECOND, THIRD, Part, Rng, arc, box, ellipse, poly


def _stone(d: Rng) -> list[Part]:
    n = 7 + d.below(4)
    t = np.arange(n) / n
    radius = 0.7 + 0.3 * d.array(n)
    points = np.stack([radius * cos(t), 0.7 * radius * sin(t)], 1)
    return [Part(points, BASE, 0), Part(points * 0.5 - 0.15, SECOND, 0)]


def _crate(d: Rng) -> list[Part]:
    h = d.uniform(0.6, 0.9)
    parts = [Part(box(-0.9, -h, 0.9, h), BASE, 0)]
    n = 2 + d.below(3)
    for i in range(1, n):
        y = -h + 2 * h * i / n
        parts.append(Part(box(-0.9, y - 0.05, 0.9, y + 0.05), SECOND, 0))
    if d.chance(0.5):
        parts.append(Part(poly((-0.9, h), (-0.7, h), (0.9, -h), (0.7, -h)), SECOND, 0))
    return parts


def _sign(d: Rng) -> list[Part]:
    board = (ellipse(0, -0.55, 0.4, 0.4), box(-0.5, -0.85, 0.5, -0.25), poly((0, -1), (0.5, -0.2), (-0.5, -0.2)))
    chosen = d.pick(board)
    middle = chosen.mean(0)
    return [
        Part(box(-0.06, -0.5, 0.06, 1), DARK, 0),
        Part(chosen, BASE, 0),
        Part((chosen - middle) * 0.65 + middle, SECOND, 0),
    ]


def _fence(d: Rng) -> list[Part]:
    n = 4 + d.below(4)
    parts = [Part(box(-1, y, 1, y + 0.12), SECOND, 0) for y in (-0.1, 0.3)]
    for i in range(n):
        x = -0.95 + 1.9 * i / (n - 1)
        parts.append(
            Part(poly((x - 0.08, 0.7), (x - 0.08, -0.4), (x, -0.55), (x + 0.08, -0.4), (x + 0.08, 0.7)), BASE, 0)
        )
    return parts


def _ball(d: Rng) -> list[Part]:
    parts = [Part(ellipse(0, 0, 0.8, 0.8), BASE, 0)]
    if d.chance(0.5):
        parts.append(Part(poly((-0.78, -0.15), (0.78, -0.15), (0.78, 0.15), (-0.78, 0.15)), SECOND, 0))
    else:
        parts.append(Part(ellipse(0, 0, 0.3, 0.79), SECOND, 0))
    return parts


def _bottle(d: Rng) -> list[Part]:
    w = d.uniform(0.25, 0.35)
    return [
        Part(
            poly((-w, 1), (w, 1), (w, -0.2), (0.1, -0.5), (0.1, -0.9), (-0.1, -0.9), (-0.1, -0.5), (-w, -0.2)), BASE, 0
        ),
        Part(box(-0.13, -1, 0.13, -0.85), SECOND, 0),
        Part(box(-w, 0.1, w, 0.6), THIRD, 0),
    ]


def _cone(d: Rng) -> list[Part]:
    y = d.uniform(-0.2, 0.3)
    return [
        Part(box(-0.7, 0.8, 0.7, 0.95), BASE, 0),
        Part(poly((-0.08, -0.9), (0.08, -0.9), (0.5, 0.8), (-0.5, 0.8)), BASE, 0),
        Part(poly((-0.15, y - 0.2), (0.15, y - 0.2), (0.25, y + 0.1), (-0.25, y + 0.1)), SECOND, 0),
    ]


def _lamp(d: Rng) -> list[Part]:
    parts = [Part(box(-0.05, -0.6, 0.05, 0.9), BASE, 0), Part(box(-0.35, 0.85, 0.35, 1), BASE, 0)]
    if d.chance(0.5):
        return [*parts, Part(poly((-0.2, -0.95), (0.2, -0.95), (0.45, -0.4), (-0.45, -0.4)), SECOND, 0)]
    return [*parts, Part(ellipse(0, -0.7, 0.28, 0.28, 16), LIGHT, 0)]


def _bush(d: Rng) -> list[Part]:
    return [
        Part(ellipse(x, y + d.uniform(-0.08, 0.08), r, r, 16), BASE, 0)
        for x, y, r in ((-0.55, 0.2, 0.42), (0.55, 0.2, 0.42), (-0.2, -0.05, 0.45), (0.25, -0.05, 0.45), (0, 0.25, 0.4))
    ]


def _bench(d: Rng) -> list[Part]:
    parts = [Part(box(x, 0.1, x + 0.12, 0.7), SECOND, 0) for x in (-0.8, 0.68)]
    for y in (-0.55, -0.3)[: 1 + d.below(2)]:
        parts.append(Part(box(-0.9, y, 0.9, y + 0.17), BASE, 0))
    return [*parts, Part(box(-1, 0, 1, 0.17), BASE, 0)]


def _wheel(d: Rng) -> list[Part]:
    spokes = []
    for i in range(2 + d.below(2)):
        c, s = float(cos(0.5 * i / 3 + 0.1)), float(sin(0.5 * i / 3 + 0.1))
        spokes.append(Part(box(-0.75, -0.05, 0.75, 0.05) @ np.array([[c, s], [-s, c]]), SECOND, 0))
    return [*spokes, Part(arc(0, 0, 0.9, 0.22, 0, 1, 32), BASE, 0)]


CLUTTER: dict[str, tuple[Callable[[Rng], list[Part]], tuple[tuple[str, ...], ...]]] = {
    "stone": (_stone, (("gray", "brown", "white"), ("gray", "white"), ("gray",))),
    "crate": (_crate, (("brown", "orange", "gray"), ("brown", "yellow"), ("brown",))),
    "sign": (_sign, (("red", "blue", "yellow", "white"), ("white", "red"), ("white",))),
    "fence": (_fence, (("white", "brown"), ("white", "brown"), ("brown",))),
    "ball": (_ball, (("red", "blue", "orange", "purple"), ("white", "yellow", "green"), ("white",))),
    "bottle": (_bottle, (("green", "blue", "brown"), ("red", "white"), ("white", "yellow"))),
    "cone": (_cone, (("orange", "red"), ("white",), ("white",))),
    "lamp": (_lamp, (("gray", "brown"), ("yellow", "red", "pink"), ("white",))),
    "bush": (_bush, (("green", "orange"), ("green",), ("green",))),
    "bench": (_bench, (("brown", "green", "red"), ("gray", "brown"), ("gray",))),
    "wheel": (_wheel, (("gray", "brown"), ("gray", "yellow"), ("gray",))),
}
"""Name -> function of its outline, and its usual colours for the roles base, second and third."""
