"""Exact polygon filling in integers, so that images have the same pixels on every machine."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UNIT = 32  # fixed-point steps per pixel
_TABLE = 4096
# Rounded, so that platforms whose sines differ in the last bit give the same table.
_SINE = np.array([round(math.sin(2 * math.pi * i / _TABLE) * 2**20) / 2**20 for i in range(_TABLE)])


def sin(turns: npt.ArrayLike) -> np.ndarray:
    """Sine of an angle in turns (float or array), from a fixed table of 4096 steps."""
    sines: np.ndarray = _SINE[np.floor(np.asarray(turns) * _TABLE + 0.5).astype(np.int64) % _TABLE]
    return sines


def cos(turns: npt.ArrayLike) -> np.ndarray:
    """Cosine of an angle in turns (float or array), from the same table."""
    return sin(np.asarray(turns) + 0.25)


class Patch(NamedTuple):
    """A filled polygon: ``mask`` bool (h, w) whose upper left pixel lies at row ``top``, column ``left``."""

    top: int
    left: int
    mask: np.ndarray

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def where(self) -> tuple[slice, slice]:
        return (
            slice(self.top, self.top + self.mask.shape[0]),
            slice(self.left, self.left + self.mask.shape[1]),
        )


def fill(points: np.ndarray, height: int, width: int) -> Patch:
    """Fill a polygon by the even-odd rule; a pixel is inside if its centre is.

    Args:
        points: float (n, 2) corners x, y in pixels.
        height, width: size of the canvas, at which the polygon is clipped.
    """
    p = np.floor(points * UNIT + 0.5).astype(np.int64)
    top = min(max(int(p[:, 1].min()) // UNIT, 0), height)
    bottom = min(max(int(p[:, 1].max()) // UNIT + 1, top), height)
    left = min(max(int(p[:, 0].min()) // UNIT, 0), width)
    right = min(max(int(p[:, 0].max()) // UNIT + 1, left), width)
    h, w = bottom - top, right - left
    if h == 0 or w == 0:
        return Patch(top, left, np.zeros((0, 0), bool))
    a, b = p, np.roll(p, -1, 0)
    up = a[:, 1] > b[:, 1]
    a, b = np.where(up[:, None], b, a), np.where(up[:, None], a, b)
    y = (np.arange(top, bottom, dtype=np.int64) * UNIT + UNIT // 2)[:, None]
    edge, rise = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
    x = a[:, 0] + (y - a[:, 1]) * edge // np.maximum(rise, 1)
    column = np.clip(-((UNIT // 2 - x) // UNIT) - left, 0, w)  # first pixel centre at or right of x
    crossed = (a[:, 1] <= y) & (y < b[:, 1])
    index = (np.arange(h)[:, None] * (w + 1) + column)[crossed]
    toggles = np.bincount(index, minlength=h * (w + 1)).reshape(h, w + 1)[:, :w]
    return Patch(top, left, (np.cumsum(toggles, 1) & 1).astype(bool))


def rim(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask bool (h, w) that share an edge with its outside."""
    m = np.pad(mask, 1)
    result: np.ndarray = mask & ~(m[:-2, 1:-1] & m[2:, 1:-1] & m[1:-1, :-2] & m[1:-1, 2:])
    return result
