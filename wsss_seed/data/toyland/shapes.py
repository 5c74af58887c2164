"""The twelve classes of toyland as outlines: each object is a list of parts, drawn back to front.

Shapes lie in a square from about -1 to 1, y pointing down. The function of a class draws a random member of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from .raster import cos, sin

T = TypeVar("T")

# Roles of a part: the three colours of the object, then colours that are the same for all objects.
BASE, SECOND, THIRD, DARK, LIGHT, STALK, CARROT, TWIG = range(8)


class Part(NamedTuple):
    """One filled outline: ``points`` float (n, 2) x y, the ``role`` of its colour, and its ``group`` of parts."""

    points: np.ndarray
    role: int
    group: int


class Rng:
    """Random numbers from NumPy's frozen legacy generator.

    By NumPy's policy the stream of ``RandomState`` never changes across versions and platforms; ``Generator``'s may.
    """

    def __init__(self, *seed: int):
        self._state = np.random.RandomState(np.array(seed, np.uint32))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self._state.random_sample())

    def array(self, *shape: int) -> np.ndarray:
        return self._state.random_sample(shape)

    def below(self, n: int) -> int:
        return int(self.uniform() * n)

    def chance(self, p: float) -> bool:
        return self.uniform() < p

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def weighted(self, weights: Sequence[float]) -> int:
        at = self.uniform(0, sum(weights))
        for i, w in enumerate(weights):
            at -= w
            if at < 0:
                return i
        return len(weights) - 1

    def bell(self, sd: float) -> float:
        """Nearly normal with mean 0 and standard deviation ``sd``: a sum of twelve uniform numbers."""
        return sd * (sum(self.uniform() for _ in range(12)) - 6)

    def bytes(self, *shape: int) -> np.ndarray:
        return np.frombuffer(self._state.bytes(int(np.prod(shape))), np.uint8).reshape(shape)


def poly(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return poly((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(
    cx: float, cy: float, rx: float, ry: float, n: int = 24, start: float = 0.0, stop: float = 1.0
) -> np.ndarray:
    t = start + (stop - start) * np.arange(n) / (n if stop - start == 1 else n - 1)
    return np.stack([cx + rx * cos(t), cy + ry * sin(t)], 1)


def arc(cx: float, cy: float, radius: float, width: float, start: float, stop: float, n: int = 16) -> np.ndarray:
    outer = ellipse(cx, cy, radius, radius, n, start, stop)
    inner = ellipse(cx, cy, radius - width, radius - width, n, start, stop)
    return np.concatenate([outer, inner[::-1]])


def _house(d: Rng) -> list[Part]:
    w, eaves = d.uniform(0.62, 0.88), d.uniform(-0.2, 0.1)
    parts = [Part(box(0.28, -0.88, 0.5, -0.1), THIRD, 0)] if d.chance(0.5) else []
    parts.append(Part(box(-w, eaves, w, 0.95), BASE, 1))
    ridge = d.uniform(-0.25, 0.25)
    if d.chance(0.25):
        roof = poly((-w - 0.12, eaves), (ridge - 0.4, -0.8), (ridge + 0.4, -0.8), (w + 0.12, eaves))
    else:
        roof = poly((-w - 0.15, eaves), (ridge, -0.95), (w + 0.15, eaves))
    parts.append(Part(roof, SECOND, 2))
    door = d.uniform(-0.5, 0.25)
    parts.append(Part(box(door, 0.42, door + 0.3, 0.95), THIRD, 3))
    for x in (-0.5, 0.2) if d.chance(0.5) else (d.uniform(-0.5, 0.2),):
        parts.append(Part(box(x, eaves + 0.12, x + 0.3, eaves + 0.38), LIGHT, 4))
    return parts


def _tree(d: Rng) -> list[Part]:
    w = d.uniform(0.1, 0.17)
    parts = [Part(box(-w, 0.1, w, 1), SECOND, 0)]
    if d.chance(0.5):
        for i in range(2 + d.below(2)):
            y, half = 0.35 - i * 0.45, 0.76 - i * 0.17
            parts.append(Part(poly((-half, y), (0, y - 0.75), (half, y)), BASE, 1))
    else:
        for cx, cy, r in ((-0.35, -0.1, 0.42), (0.35, -0.1, 0.42), (0, -0.5, 0.48)):
            parts.append(Part(ellipse(cx + d.uniform(-0.05, 0.05), cy, r, r), BASE, 1))
        if d.chance(0.4):
            for _ in range(4):
                parts.append(Part(ellipse(d.uniform(-0.5, 0.5), d.uniform(-0.6, 0.1), 0.09, 0.09, 10), THIRD, 1))
    return parts


def _car(d: Rng) -> list[Part]:
    h, a = d.uniform(-0.1, 0.05), d.uniform(0.45, 0.65)
    cabin = SECOND if d.chance(0.3) else BASE
    parts = [
        Part(poly((-a - 0.1, h), (-a + 0.15, -0.5), (a - 0.2, -0.5), (a + 0.1, h)), cabin, 1),
        Part(poly((-a + 0.08, h), (-a + 0.22, -0.4), (a - 0.27, -0.4), (a - 0.08, h)), LIGHT, 2),
        Part(poly((-1, h), (0.85, h), (1, h + 0.2), (1, 0.42), (-1, 0.42)), BASE, 0),
    ]
    r = d.uniform(0.2, 0.28)
    for x in (-0.55, 0.55):
        parts.append(Part(ellipse(x, 0.42, r, r), DARK, 3))
        parts.append(Part(ellipse(x, 0.42, r * 0.45, r * 0.45, 12), LIGHT, 3))
    return parts


def _boat(d: Rng) -> list[Part]:
    parts = [
        Part(box(-0.05, -0.95, 0.05, 0.4), DARK, 1),
        Part(poly((0.08, -0.9), (0.08, 0.25), (d.uniform(0.6, 0.9), 0.25)), SECOND, 2),
    ]
    if d.chance(0.6):
        parts.append(Part(poly((-0.08, -0.7), (-0.08, 0.25), (-0.65, 0.25)), SECOND, 2))
    b = d.uniform(0.5, 0.7)
    parts.append(Part(poly((-1, 0.35), (1, 0.35), (b, 0.85), (-b, 0.85)), BASE, 0))
    if d.chance(0.4):
        parts.append(Part(poly((-0.9, 0.45), (0.9, 0.45), (0.84, 0.56), (-0.84, 0.56)), THIRD, 0))
    return parts


def _fish(d: Rng) -> list[Part]:
    q = d.uniform(0.36, 0.52)
    parts = [
        Part(poly((0.45, 0), (1, -0.45), (0.85, 0), (1, 0.45)), SECOND, 1),
        Part(poly((-0.25, -q * 0.7), (0.1, -q - 0.25), (0.35, -q * 0.5)), SECOND, 2),
        Part(ellipse(-0.15, 0, 0.78, q), BASE, 0),
    ]
    if d.chance(0.5):
        for x in (-0.2, 0.1, 0.32):
            parts.append(Part(box(x, -q * 0.72, x + 0.1, q * 0.72), THIRD, 0))
    parts.append(Part(ellipse(-0.6, -0.1, 0.11, 0.11, 12), LIGHT, 3))
    parts.append(Part(ellipse(-0.62, -0.1, 0.05, 0.05, 8), DARK, 3))
    return parts


def _flower(d: Rng) -> list[Part]:
    n = 5 + d.below(4)
    parts = [Part(box(-0.06, -0.1, 0.06, 1), STALK, 1)]
    for side in (1, -1) if d.chance(0.5) else (1,):
        parts.append(Part(poly((0, 0.78), (0.52 * side, 0.33), (0.47 * side, 0.64)), STALK, 1))
    for i in range(n):
        c, s = cos(i / n), sin(i / n)
        petal = ellipse(0.36, 0, 0.3, 0.19, 14)
        x, y = petal[:, 0] * c - petal[:, 1] * s, petal[:, 0] * s + petal[:, 1] * c - 0.35
        parts.append(Part(np.stack([x, y], 1), BASE, 0))
    parts.append(Part(ellipse(0, -0.35, 0.2, 0.2, 14), SECOND, 2))
    return parts


def _cup(d: Rng) -> list[Part]:
    w = d.uniform(0.5, 0.65)
    b = d.uniform(0.4, 0.6) * w / 0.6
    parts = [
        Part(arc(w - 0.02, 0.1, 0.4, 0.14, -0.23, 0.23), BASE, 1),
        Part(poly((-w, -0.55), (w, -0.55), (b, 0.75), (-b, 0.75)), BASE, 0),
        Part(ellipse(0, -0.55, w, 0.16), SECOND, 2),
        Part(ellipse(0, -0.53, w * 0.82, 0.1), THIRD, 2),
    ]
    if d.chance(0.5):
        parts.append(Part(poly((-w * 0.97, 0), (w * 0.97, 0), (w * 0.92, 0.25), (-w * 0.92, 0.25)), THIRD, 0))
    return parts


def _star(d: Rng) -> list[Part]:
    n, q = (5 if d.chance(0.8) else 6), d.uniform(0.4, 0.52)
    k = np.arange(2 * n)
    radius = np.where(k % 2 == 0, 1.0, q)
    points = np.stack([radius * cos(k / (2 * n) - 0.25), radius * sin(k / (2 * n) - 0.25)], 1)
    parts = [Part(points, BASE, 0)]
    if d.chance(0.5):
        parts.append(Part(points * 0.55, SECOND, 1))
    return parts


def _snowman(d: Rng) -> list[Part]:
    parts = [
        Part(ellipse(0, 0.5, 0.5, 0.48), BASE, 0),
        Part(ellipse(0, -0.12, 0.37, 0.35), BASE, 0),
        Part(ellipse(0, -0.58, 0.26, 0.25), BASE, 1),
    ]
    if d.chance(0.8):
        parts.append(Part(box(-0.32, -0.84, 0.32, -0.74), SECOND, 2))
        parts.append(Part(box(-0.2, -1.1, 0.2, -0.8), SECOND, 2))
    for x in (-0.09, 0.09):
        parts.append(Part(ellipse(x, -0.63, 0.045, 0.045, 8), DARK, 1))
    parts.append(Part(poly((0, -0.57), (0.28, -0.52), (0, -0.5)), CARROT, 1))
    for y in (-0.15, 0.05, 0.4):
        parts.append(Part(ellipse(0, y, 0.05, 0.05, 8), DARK, 0))
    if d.chance(0.5):
        for s in (-1, 1):
            parts.append(Part(poly((s * 0.3, -0.2), (s * 0.85, -0.5), (s * 0.83, -0.58), (s * 0.28, -0.29)), TWIG, 3))
    return parts


def _mushroom(d: Rng) -> list[Part]:
    w = d.uniform(0.16, 0.28)
    parts = [
        Part(poly((-w, -0.1), (w, -0.1), (w + 0.1, 0.9), (-w - 0.1, 0.9)), SECOND, 1),
        Part(ellipse(0, 0.05, d.uniform(0.75, 0.95), d.uniform(0.75, 1.0), 18, 0.5, 1.0 + 1e-9), BASE, 0),
    ]
    for _ in range(2 + d.below(4)):
        a, r = d.uniform(0.58, 0.92), d.uniform(0.25, 0.7)
        parts.append(Part(ellipse(r * 0.8 * float(cos(a)), r * 0.85 * float(sin(a)), 0.11, 0.1, 10), LIGHT, 0))
    return parts


def _rocket(d: Rng) -> list[Part]:
    w = d.uniform(0.22, 0.34)
    parts = [Part(poly((s * w, 0.2), (s * (w + 0.35), 0.75), (s * w, 0.65)), SECOND, 1) for s in (-1, 1)]
    if d.chance(0.6):
        parts.append(Part(poly((-w * 0.7, 0.65), (0, d.uniform(0.95, 1.1)), (w * 0.7, 0.65)), CARROT, 3))
    parts.append(Part(box(-w, -0.4, w, 0.68), BASE, 0))
    parts.append(Part(poly((-w, -0.4), (-w * 0.6, -0.75), (0, -1), (w * 0.6, -0.75), (w, -0.4)), SECOND, 2))
    parts.append(Part(ellipse(0, -0.1, w * 0.55, w * 0.55, 14), LIGHT, 4))
    return parts


def _umbrella(d: Rng) -> list[Part]:
    n, h = 3 + d.below(3), d.uniform(0.6, 0.85)
    parts = [
        Part(box(-0.05, -0.2, 0.05, 0.85), DARK, 1),
        Part(arc(0.14, 0.82, 0.19, 0.1, 0, 0.5), DARK, 1),
        Part(ellipse(0, 0, 0.95, h, 22, 0.5, 1.0 + 1e-9), BASE, 0),
    ]
    x = -0.95 + 1.9 * np.arange(n + 1) / n
    for i in range(1, n, 2):
        panel = poly((x[i], 0), (x[i] * 0.6, -h * 0.78), (0, -h), (x[i + 1] * 0.6, -h * 0.78), (x[i + 1], 0))
        parts.append(Part(panel, SECOND, 0))
    return parts


SHAPES: dict[str, Callable[[Rng], list[Part]]] = {
    "house": _house,
    "tree": _tree,
    "car": _car,
    "boat": _boat,
    "fish": _fish,
    "flower": _flower,
    "cup": _cup,
    "star": _star,
    "snowman": _snowman,
    "mushroom": _mushroom,
    "rocket": _rocket,
    "umbrella": _umbrella,
}
CLASSES = tuple(SHAPES)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 40, 40),
    "orange": (235, 135, 35),
    "yellow": (240, 215, 60),
    "green": (60, 160, 70),
    "blue": (50, 90, 205),
    "purple": (130, 60, 170),
    "pink": (240, 140, 180),
    "brown": (125, 80, 45),
    "white": (240, 240, 240),
    "gray": (130, 130, 135),
}
FIXED_COLOURS = {
    DARK: (40, 35, 40),
    LIGHT: (225, 235, 240),
    STALK: (60, 140, 60),
    CARROT: (245, 140, 30),
    TWIG: (90, 60, 40),
}
# Usual colours of a class for the roles base, second and third; the first of each is twice as likely.
TYPICAL: dict[str, tuple[tuple[str, ...], ...]] = {
    "house": (("white", "yellow", "brown"), ("red", "brown"), ("brown", "blue")),
    "tree": (("green", "green", "orange"), ("brown",), ("red", "pink")),
    "car": (("red", "blue", "gray"), ("gray", "white"), ("white",)),
    "boat": (("brown", "red"), ("white", "yellow"), ("blue", "white")),
    "fish": (("orange", "blue"), ("yellow", "orange"), ("white", "purple")),
    "flower": (("pink", "purple", "red"), ("yellow", "orange"), ("yellow",)),
    "cup": (("blue", "white", "gray"), ("white", "blue"), ("brown",)),
    "star": (("yellow",), ("orange", "yellow"), ("orange",)),
    "snowman": (("white",), ("gray", "red"), ("red",)),
    "mushroom": (("red", "brown"), ("white", "yellow"), ("white",)),
    "rocket": (("white", "gray"), ("red", "blue"), ("blue",)),
    "umbrella": (("purple", "pink", "blue"), ("white", "yellow"), ("white",)),
}
