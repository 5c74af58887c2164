"""The eight places of toyland: textured backgrounds, in plain IEEE arithmetic, so that all machines agree."""

from __future__ import annotations

import numpy as np

from .raster import cos, sin
from .shapes import COLOURS, Rng

# Place -> its probability, and the classes that belong there.
PLACES: dict[str, tuple[float, tuple[str, ...]]] = {
    "water": (0.15, ("boat", "fish")),
    "grass": (0.17, ("house", "tree", "flower", "mushroom")),
    "road": (0.13, ("car", "house", "tree")),
    "night": (0.11, ("star", "rocket")),
    "snow": (0.10, ("snowman", "tree")),
    "table": (0.10, ("cup", "flower")),
    "sky": (0.10, ("rocket", "umbrella")),
    "pattern": (0.14, ()),
}


def jitter(d: Rng, colour: tuple[int, int, int], by: float = 22) -> np.ndarray:
    """A random colour near the given one, at most ``by`` away per channel: float32 (3,) in 0..255."""
    return np.clip(np.array([c + d.uniform(-by, by) for c in colour], np.float32), 0, 255)


def smooth_noise(d: Rng, h: int, w: int, cells: int) -> np.ndarray:
    """Random values on a ``cells`` x ``cells`` grid, interpolated bilinearly to float32 (h, w) in 0..1."""
    grid = d.array(cells, cells).astype(np.float32)
    y, x = (np.arange(n, dtype=np.float32) * np.float32((cells - 1) / max(n - 1, 1)) for n in (h, w))
    iy, ix = np.minimum(y.astype(np.int64), cells - 2), np.minimum(x.astype(np.int64), cells - 2)
    fy, fx = (y - iy.astype(np.float32))[:, None], (x - ix.astype(np.float32))[None]
    rows = grid[iy] * (1 - fy) + grid[iy + 1] * fy
    result: np.ndarray = rows[:, ix] * (1 - fx) + rows[:, ix + 1] * fx
    return result


def _gradient(above: np.ndarray, below: np.ndarray, h: int, w: int) -> np.ndarray:
    t = (np.arange(h, dtype=np.float32) / np.float32(max(h - 1, 1)))[:, None, None]
    return np.broadcast_to(above * (1 - t) + below * t, (h, w, 3)).copy()


def _pattern(d: Rng, h: int, w: int) -> np.ndarray:
    names = list(COLOURS)
    a = jitter(d, COLOURS[d.pick(names)], 30)
    b = jitter(d, COLOURS[d.pick(names)], 30) * np.float32(0.6) + a * np.float32(0.4)
    size = max(h, w)
    y, x = np.arange(h)[:, None] / size, np.arange(w)[None] / size
    kind, turn, f = d.below(3), d.uniform(0, 0.5), d.uniform(8, 30)
    if kind == 0:
        on = sin((y * cos(turn) + x * sin(turn)) * f * 0.5) > 0
    elif kind == 1:
        on = ((y * f / 3).astype(int) + (x * f / 3).astype(int)) % 2 == 1
    else:
        on = smooth_noise(d, h, w, max(3, int(f / 2))) > 0.5
    return np.where(on[:, :, None], b, a)


def background(d: Rng, place: str, h: int, w: int) -> np.ndarray:
    """Draw a place: float32 (h, w, 3), about 0..255, not clipped."""
    if place == "pattern":
        return _pattern(d, h, w)
    above = _gradient(jitter(d, (120, 180, 235), 30), jitter(d, (205, 225, 245), 20), h, w)
    horizon = d.uniform(0.3, 0.7)
    waves = d.uniform(0.3, 2)
    line = horizon + 0.03 * sin(np.arange(w) / w * waves)
    ground_here = (np.arange(h) / h)[:, None] > line[None]
    if place == "night":
        sky = _gradient(jitter(d, (12, 14, 45), 12), jitter(d, (45, 40, 90), 20), h, w)
        stars = d.array(h // 2 + 1, w // 2 + 1) > 0.995
        sky[np.repeat(np.repeat(stars, 2, 0), 2, 1)[:h, :w]] = 225
        return sky
    if place == "sky":
        cloud = np.clip(smooth_noise(d, h, w, 5) - np.float32(0.55), 0, 1)[:, :, None] * 2
        return above * (1 - cloud) + 250 * cloud
    if place == "water":
        ground = _gradient(jitter(d, (60, 130, 190), 25), jitter(d, (20, 70, 140), 20), h, w)
        phase = np.arange(h)[:, None] * d.uniform(0.03, 0.08) + 0.6 * smooth_noise(d, h, w, 8)
        ground += (14 * sin(phase)).astype(np.float32)[:, :, None]
    elif place == "grass":
        ground = _gradient(jitter(d, (120, 180, 80), 25), jitter(d, (70, 130, 50), 25), h, w)
        ground += 45 * (smooth_noise(d, h, w, 64) - np.float32(0.5))[:, :, None]
    elif place == "road":
        ground = _gradient(jitter(d, (110, 110, 115), 15), jitter(d, (85, 85, 90), 15), h, w)
        row = int(h * (horizon + 1) / 2)
        dashes = np.arange(w) // 20 % 2 == 0
        ground[row - 3 : row + 3, dashes] = 235
    elif place == "snow":
        ground = _gradient(jitter(d, (225, 232, 245), 10), jitter(d, (200, 212, 232), 15), h, w)
        above = _gradient(jitter(d, (150, 170, 200), 25), jitter(d, (190, 205, 225), 20), h, w)
    else:  # table
        ground = _gradient(jitter(d, (165, 115, 70), 25), jitter(d, (120, 80, 45), 25), h, w)
        ground += (14 * sin(np.arange(h) / h * d.uniform(3, 10))).astype(np.float32)[:, None, None]
        above = _gradient(jitter(d, (215, 200, 180), 35), jitter(d, (225, 215, 200), 25), h, w)
    return np.where(ground_here[:, :, None], ground, above)
