"""One toyland image: composition, occlusion, and the exact label and instance maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import hard, standard
from .background import PLACES, background, smooth_noise
from .figures import SCALE, Figure
from .raster import rim
from .shapes import CLASSES, Rng

SPLITS = {"train": 0, "val": 1, "test": 2}


class World(NamedTuple):
    """A difficulty.

    Attributes:
        size: draws height and width of an image.
        figures: draws its figures, back to front.
        least: smallest number of objects in an image.
        stream: numbers that its random streams have in addition to those of the standard world.
    """

    size: Callable[[Rng], tuple[int, int]]
    figures: Callable[[Rng, str, int, int], list[Figure]]
    least: int
    stream: tuple[int, ...]


DIFFICULTIES = {
    "standard": World(standard.size, standard.figures, 1, ()),
    "hard": World(hard.size, hard.figures, 0, (1,)),
}
_MIN_PIXELS, _MIN_VISIBLE = 40, 0.25  # objects that are less visible are removed from the scene
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
    """A drawn image and its ground truth.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        labels: uint8 (H, W), 0 background, 1..12 class; exact, without 255.
        instances: uint8 (H, W), 0 background, 1..n the n ``objects`` in their order.
        parts: uint8 (H, W), 0 background, otherwise a number per part of an object.
        objects: the visible objects, back to front.
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
        """float32 (n, 4) x0 y0 x1 y1 in pixels around the visible part of each object."""
        rows = []
        for i in range(len(self.objects)):
            y, x = np.nonzero(self.instances == i + 1)
            rows.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
        return np.array(rows, np.float32).reshape(-1, 4)


def _maps(figures: list[Figure], h: int, w: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Instance and part maps uint8 (h, w) at drawing scale, and the area of each object there before occlusion."""
    instances, parts = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    areas: list[int] = []
    base = 0
    for one in figures:
        if one.index is None:
            for patch, *_ in one.patches:
                instances[patch.where][patch.mask] = parts[patch.where][patch.mask] = 0
            continue
        whole = np.zeros((h, w), bool)
        top = base
        for patch, _, group, _ in one.patches:
            instances[patch.where][patch.mask] = len(areas) + 1
            parts[patch.where][patch.mask] = base + 1 + group
            whole[patch.where] |= patch.mask
            top = max(top, base + 1 + group)
        base = top
        areas.append(int(whole.sum()))
    return instances, parts, areas


def _visible(
    figures: list[Figure], h: int, w: int, least: int
) -> tuple[list[Figure], list[ToyObject], np.ndarray, np.ndarray]:
    """The figures without hardly visible objects, unless fewer than ``least`` objects would remain; the objects among
    them; and their instance and part maps, both uint8 (h, w)."""
    while True:
        instances, parts, areas = _maps(figures, h * SCALE, w * SCALE)
        instances, parts = instances[::SCALE, ::SCALE], parts[::SCALE, ::SCALE]
        seen = np.bincount(instances.ravel(), minlength=len(areas) + 1)[1:]
        objects = [one for one in figures if one.index is not None]
        hidden = [
            one
            for one, n, area in zip(objects, seen, areas, strict=True)
            if n < _MIN_PIXELS or n * SCALE**2 < _MIN_VISIBLE * area
        ]
        if not hidden or len(objects) <= least:
            break
        gone = {id(one) for one in hidden[: len(objects) - least]}
        figures = [one for one in figures if id(one) not in gone]
    known = [ToyObject(o.index, o.colour, int(n)) for o, n in zip(objects, seen, strict=True) if o.index is not None]
    return figures, known, instances.copy(), parts.copy()


def _caption(d: Rng, objects: list[ToyObject], place: str) -> str:
    names = list(dict.fromkeys(CLASSES[o.index] for o in objects))
    what = " and ".join(f"{'an' if n[0] in 'aeiou' else 'a'} {n}" for n in names) or "various things"
    return f"{d.pick(_TEMPLATES).format(what)} {_PLACE_PHRASES[place]}"


def draw(index: int, split: str = "test", seed: int = 0, difficulty: str = "standard") -> Scene:
    """Draw image ``index`` of a toyland split.

    Every (difficulty, seed, split, index) has its own random stream, so that splits share no image and an image does
    not depend on the number of images. Integer rasterisation, IEEE arithmetic and NumPy's frozen generator give the
    same pixels on every machine.

    Raises:
        KeyError: unknown split or difficulty.
    """
    world = DIFFICULTIES[difficulty]
    d = Rng(SPLITS[split], seed % 2**32, index % 2**32, *world.stream)
    height, width = world.size(d)
    place = list(PLACES)[d.weighted([p for p, _ in PLACES.values()])]
    canvas = background(d, place, height * SCALE, width * SCALE)
    figures, objects, instances, parts = _visible(world.figures(d, place, height, width), height, width, world.least)
    for one in figures:
        for patch, shade, _, outlined in one.patches:
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
    lookup = np.array([0] + [o.index + 1 for o in objects], np.uint8)
    return Scene(
        image=np.floor(np.clip(image, 0, 255) + np.float32(0.5)).astype(np.uint8),
        labels=lookup[instances],
        instances=instances,
        parts=parts,
        objects=tuple(objects),
        place=place,
        caption=_caption(d, objects, place),
    )
