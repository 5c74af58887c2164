"""Figures of a scene: outlines that are rotated, coloured and filled at their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .background import jitter
from .clutter import CLUTTER
from .raster import Patch, cos, fill, sin
from .shapes import BASE, CLASSES, COLOURS, FIXED_COLOURS, SECOND, SHAPES, THIRD, TYPICAL, Rng

SCALE = 2  # images are drawn twice as large and averaged
_TYPICAL = 0.7  # share of roles with a colour typical of the class


@dataclass(frozen=True)
class Figure:
    """An object or a piece of clutter.

    Attributes:
        index: foreground index 0..11 of its class; None for clutter, which is background.
        colour: name of its base colour.
        patches: its parts, back to front: patch at drawing scale, colour, group, and whether it is outlined.
    """

    index: int | None
    colour: str
    patches: list[tuple[Patch, np.ndarray, int, bool]]


def figure(d: Rng, name: str, x: float, y: float, radius: float, height: int, width: int) -> Figure:
    """A random member of a class or piece of clutter.

    Args:
        d: random numbers.
        name: a key of ``SHAPES`` or ``CLUTTER``.
        x, y: its centre, in pixels of the image.
        radius: half its size, in pixels of the image.
        height, width: of the image.
    """
    outline, colours = (SHAPES[name], TYPICAL[name]) if name in SHAPES else CLUTTER[name]
    upright = name not in ("star", "fish")
    turn = d.bell(0.04) if d.chance(0.85) or not upright else d.uniform(0, 1)
    if not upright:
        turn = d.bell(0.1)
    mirror = -1 if d.chance(0.5) else 1
    wide, shear = d.uniform(0.82, 1.18), d.bell(0.08)
    c, s = float(cos(turn)), float(sin(turn))

    def colour(role: int) -> str:
        usual = colours[role]
        return d.pick(usual[:1] + usual) if d.chance(_TYPICAL) else d.pick(list(COLOURS))

    names = {role: colour(role) for role in (BASE, SECOND, THIRD)}
    if name == "flower" and names[SECOND] == names[BASE]:
        names[SECOND] = "yellow" if names[BASE] != "yellow" else "orange"
    shade = {role: jitter(d, COLOURS[n]) for role, n in names.items()}
    shade |= {role: jitter(d, rgb, 15) for role, rgb in FIXED_COLOURS.items()}
    outlined = d.chance(0.35)
    patches = []
    for points, role, group in outline(d):
        px = (points[:, 0] + shear * points[:, 1]) * (mirror * wide)
        py = points[:, 1] / wide
        at = np.stack([x + radius * (c * px - s * py), y + radius * (s * px + c * py)], 1)
        patches.append((fill(at * SCALE, height * SCALE, width * SCALE), shade[role], group, outlined))
    return Figure(CLASSES.index(name) if name in SHAPES else None, names[BASE], patches)
