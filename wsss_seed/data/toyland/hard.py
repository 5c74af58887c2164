"""The hard scene: none to ten objects, from tiny to filling the image, that occlude one another among clutter."""

from __future__ import annotations

from .background import PLACES
from .clutter import CLUTTER
from .figures import Figure, figure
from .shapes import CLASSES, Rng

_EMPTY = 0.2  # share of scenes without any object
_AT_HOME = 0.3  # share of objects that belong to their place
_FILLING = 0.12  # share of scenes with an object that fills most of them
_BESIDE, _UPON = 0.4, 0.15  # share of objects next to another one, and on top of it, like a rider
_SAME = 0.3  # share of objects beside another one that are of its class
_LEAST = 7.0  # smallest radius of an object in pixels


def size(d: Rng) -> tuple[int, int]:
    """Height and width of an image in pixels."""
    long = 128 + d.below(273)
    short = int(long * d.uniform(0.5, 1.0))
    return (short, long) if d.chance(0.6) else (long, short)


def figures(d: Rng, place: str, height: int, width: int) -> list[Figure]:
    """The figures of a scene, back to front: the lower a figure stands, the nearer it is."""
    short = min(height, width)
    standing: list[tuple[float, Figure]] = []  # the row of its lowest point, and the figure
    names: list[str] = []
    where: list[tuple[float, float, float]] = []

    def stand(name: str, x: float, y: float, radius: float, feet: float) -> None:
        standing.append((feet, figure(d, name, x, y, radius, height, width)))

    filling = d.chance(_FILLING)
    for i in range(0 if d.chance(_EMPTY) else 1 + d.weighted((4, 5, 5, 4, 3, 3, 2, 2, 1, 1))):
        home = PLACES[place][1]
        name = d.pick(home) if home and d.chance(_AT_HOME) else d.pick(CLASSES)
        far = d.uniform()
        radius = max(_LEAST, short * (0.04 + 0.42 * far * far))
        x, y = d.uniform(0, width), d.uniform(0.1, 1) * height
        feet = y + radius
        if filling and i == 0:
            radius = short * d.uniform(0.5, 0.75)
            x, y, feet = d.uniform(0.3, 0.7) * width, d.uniform(0.4, 0.6) * height, 0.0
        elif where and d.chance(_UPON):
            x0, y0, r0 = d.pick(where)
            radius = max(_LEAST, r0 * d.uniform(0.5, 0.9))
            x, y = x0 + d.uniform(-0.4, 0.4) * r0, y0 - d.uniform(0.3, 0.6) * r0 - 0.3 * radius
            feet = y0 + r0 + 0.5
        elif where and d.chance(_BESIDE):
            beside = d.below(len(where))
            x0, y0, r0 = where[beside]
            if d.chance(_SAME):
                name = names[beside]
            radius = max(_LEAST, r0 * d.uniform(0.6, 1.2))
            side = 1 if d.chance(0.5) else -1
            x, feet = x0 + side * d.uniform(0.5, 1.0) * (radius + r0), y0 + r0 + d.uniform(-0.3, 0.3) * radius
            y = feet - radius
        x, y = min(max(x, 0.0), width), min(max(y, 0.0), height)  # the border of the image cuts off half at most
        stand(name, x, y, radius, feet)
        names.append(name)
        where.append((x, y, radius))
    for _ in range(2 + d.below(11)):
        u = d.uniform()
        radius = max(5.0, short * (0.03 + 0.25 * u * u))
        x, y = d.uniform(0, width), d.uniform(0.1 * height, height)
        stand(d.pick(list(CLUTTER)), x, y, radius, y + radius)
    return [shape for _, shape in sorted(standing, key=lambda pair: pair[0])]
