"""One toyland image: where things stand, what hides what, and the exact label and instance maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .background import PLACES, background, jitter, smooth_noise
from .raster import Patch, cos, fill, rim, sin
from .shapes import BASE, CLASSES, COLOURS, FIXED_COLOURS, SECOND, SHAPES, THIRD, TYPICAL, Rng

SPLITS = {"train": 0, "val": 1, "test": 2}
_SCALE = 2  # colours are drawn twice as large and averaged
_AT_HOME = 0.5  # share of objects that belong to their place
_TYPICAL = 0.7  # share of parts in a colour typical of the class
_MIN_PIXELS, _MIN_VISIBLE = 40, 0.25  # an object less visible than this is left out of the scene
_TEMPLATES = ("a photo of {}", "a picture of {}", "a drawing of {}", "an image of {}")
_PLACE_PHRASES = {
    "water": "on the water",
    "grass": "on the grass",
    "road": "on the road",
    "night": "in the night",
    "snow": "in the snow",
    "table": "on the table",
    "sky": "in the sky",
    "pattern": "on a pattern",
}


@dataclass(frozen=True)
class ToyObject:
    """An object of a scene: foreground index 0..11, the name of its base colour, its visible pixels."""

    index: int
    colour: str
    pixels: int


@dataclass(frozen=True)
class Scene:
    """A drawn image and all that is known about it.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        labels: uint8 (H, W), 0 background, 1..12 class; exact, without 255.
        instances: uint8 (H, W), 0 background, 1..n the n ``objects`` in their order.
        parts: uint8 (H, W), 0 background, else a number for each part of each object.
        objects: what is visible, back to front.
        place: name of the background.
        caption: one English sentence naming the classes and the place.
    """

    image: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    parts: np.ndarray
    objects: tuple[ToyObject, ...]
    place: str
    caption: str

    @property
    def present(self) -> tuple[int, ...]:
        """Foreground indices of the classes in the image, ascending."""
        return tuple(sorted({o.index for o in self.objects}))

    @property
    def boxes(self) -> np.ndarray:
        """float32 (n, 4) x0 y0 x1 y1 in pixels round the visible part of each object."""
        rows = []
        for i in range(len(self.objects)):
            y, x = np.nonzero(self.instances == i + 1)
            rows.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
        return np.array(rows, np.float32).reshape(-1, 4)


@dataclass(frozen=True)
class _Shape:
    name: str
    colour: str
    patches: list[tuple[Patch, np.ndarray, int, bool]]  # filled part, colour, group, outlined


def _size(d: Rng) -> tuple[int, int]:
    long = 112 + d.below(49)
    short = int(long * d.uniform(0.66, 1.0))
    return (short, long) if d.chance(0.65) else (long, short)


def _object(d: Rng, name: str, x: float, y: float, radius: float, h: int, w: int) -> _Shape:
    upright = name not in ("star", "fish")
    turn = d.bell(0.04) if d.chance(0.85) or not upright else d.uniform(0, 1)
    if not upright:
        turn = d.bell(0.1)
    mirror = -1 if d.chance(0.5) else 1
    wide, shear = d.uniform(0.82, 1.18), d.bell(0.08)
    c, s = float(cos(turn)), float(sin(turn))

    def colour(role: int) -> str:
        usual = TYPICAL[name][role]
        return d.pick(usual[:1] + usual) if d.chance(_TYPICAL) else d.pick(list(COLOURS))

    names = {role: colour(role) for role in (BASE, SECOND, THIRD)}
    if name == "flower" and names[SECOND] == names[BASE]:
        names[SECOND] = "yellow" if names[BASE] != "yellow" else "orange"
    shade = {role: jitter(d, COLOURS[n]) for role, n in names.items()}
    shade |= {role: jitter(d, rgb, 15) for role, rgb in FIXED_COLOURS.items()}
    outlined = d.chance(0.35)
    patches = []
    for points, role, group in SHAPES[name](d):
        px = (points[:, 0] + shear * points[:, 1]) * (mirror * wide)
        py = points[:, 1] / wide
        at = np.stack([x + radius * (c * px - s * py), y + radius * (s * px + c * py)], 1)
        patches.append((fill(at * _SCALE, h, w), shade[role], group, outlined))
    return _Shape(name, names[BASE], patches)


def _objects(d: Rng, place: str, height: int, width: int) -> list[_Shape]:
    count = 1 + d.weighted((0.3, 0.3, 0.25, 0.15))
    short = min(height, width)
    home = PLACES[place][1]
    placed: list[tuple[float, float, float]] = []
    shapes = []
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
        shapes.append(_object(d, name, x, y, radius, height * _SCALE, width * _SCALE))
    return shapes


def _distractor(d: Rng, h: int, w: int) -> Patch:
    """A shape of no class: a blob, a bar, a ring's segment."""
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


def _maps(shapes: list[_Shape], h: int, w: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Instance and part maps at drawing scale, and the unhidden area of each object there."""
    instances, parts = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    areas, base = [], 0
    for i, shape in enumerate(shapes):
        whole = np.zeros((h, w), bool)
        top = base
        for patch, _, group, _ in shape.patches:
            instances[patch.where][patch.mask] = i + 1
            parts[patch.where][patch.mask] = base + 1 + group
            whole[patch.where] |= patch.mask
            top = max(top, base + 1 + group)
        base = top
        areas.append(int(whole.sum()))
    return instances, parts, areas


def _caption(d: Rng, objects: list[ToyObject], place: str) -> str:
    names = list(dict.fromkeys(CLASSES[o.index] for o in objects))
    what = " and ".join(f"{'an' if n[0] in 'aeiou' else 'a'} {n}" for n in names)
    return f"{d.pick(_TEMPLATES).format(what)} {_PLACE_PHRASES[place]}"


def draw(index: int, split: str = "test", seed: int = 0) -> Scene:
    """Draw image ``index`` of a toyland split.

    Every (seed, split, index) has a random stream of its own, so splits share no image and an image does not depend
    on how many are drawn. Integer rasterising, IEEE arithmetic and NumPy's frozen generator make the pixels the same
    on every machine.

    Raises:
        KeyError: unknown split.
    """
    d = Rng(SPLITS[split], seed % 2**32, index % 2**32)
    height, width = _size(d)
    h, w = height * _SCALE, width * _SCALE
    place = list(PLACES)[d.weighted([p for p, _ in PLACES.values()])]
    canvas = background(d, place, h, w)
    if d.chance(0.35):
        for _ in range(1 + d.below(4)):
            patch, shade = _distractor(d, h, w), jitter(d, COLOURS[d.pick(list(COLOURS))])
            canvas[patch.where][patch.mask] = shade
    shapes = _objects(d, place, height, width)
    while True:
        big_instances, big_parts, areas = _maps(shapes, h, w)
        instances, parts = big_instances[::_SCALE, ::_SCALE], big_parts[::_SCALE, ::_SCALE]
        seen = np.bincount(instances.ravel(), minlength=len(shapes) + 1)[1:]
        visible = [n >= _MIN_PIXELS and n * _SCALE**2 >= _MIN_VISIBLE * a for n, a in zip(seen, areas, strict=True)]
        if all(visible) or len(shapes) == 1:
            break
        shapes = [s for s, v in zip(shapes, visible, strict=True) if v] or shapes[-1:]
    for shape in shapes:
        for patch, shade, _, outlined in shape.patches:
            canvas[patch.where][patch.mask] = shade
            if outlined:
                canvas[patch.where][rim(patch.mask)] = 30
    image = (canvas[::2, ::2] + canvas[1::2, ::2] + canvas[::2, 1::2] + canvas[1::2, 1::2]) / np.float32(4)
    if d.chance(0.5):
        light = d.uniform(0.75, 1.1) + d.uniform(-0.3, 0.3) * (smooth_noise(d, height, width, 3) - np.float32(0.5))
        image = image * light[:, :, None].astype(np.float32)
    gray, tint = np.float32(d.uniform(0, 9) / 147.8), np.float32(d.uniform(0, 6) / 147.8)
    # The sum of four random bytes is nearly normal, with standard deviation 147.8.
    noise = d.bytes(4, height, width, 4).astype(np.int32).sum(0) - 510
    image = image + gray * noise[:, :, 3:].astype(np.float32) + tint * noise[:, :, :3].astype(np.float32)
    objects = [ToyObject(CLASSES.index(s.name), s.colour, int(n)) for s, n in zip(shapes, seen, strict=True)]
    lookup = np.array([0] + [o.index + 1 for o in objects], np.uint8)
    return Scene(
        image=np.floor(np.clip(image, 0, 255) + np.float32(0.5)).astype(np.uint8),
        labels=lookup[instances],
        instances=instances.copy(),
        parts=parts.copy(),
        objects=tuple(objects),
        place=place,
        caption=_caption(d, objects, place),
    )
