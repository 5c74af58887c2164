"""Toyland as a dataset: images are drawn on access."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ...errors import DataError, unknown_name
from ..base import Boxes, Dataset, Sample
from ..classes import ClassSet
from ..lazy import Lazy
from .scene import DIFFICULTIES, SPLITS, Scene, draw

# Image, labels, mask and boxes of a sample are read one after the other, by a few threads at most.
_scene = lru_cache(maxsize=32)(draw)


class Toyland(Dataset):
    """The first images of a toyland split, with exact labels, masks and boxes, without files.

    Args:
        class_set: toyland's class set, perhaps with other phrases or thresholds.
        split: ``train``, ``val`` or ``test``; they share no image.
        images: number of images.
        seed: random seed of all scenes.
        labelled: whether the samples have (exact) image-level labels.
        difficulty: ``standard``, or ``hard``: larger images of none to ten objects, from tiny to filling the
            image, that occlude one another among clutter. A fifth of them show no class, so ``assume_present`` of the
            class set is off.

    Raises:
        WsssError: unknown split or difficulty, no image, or a seed outside 0..2**32 - 1.
    """

    name = "toyland"
    drawn = True

    def __init__(
        self,
        class_set: ClassSet,
        split: str = "test",
        images: int = 100,
        seed: int = 0,
        labelled: bool = True,
        difficulty: str = "standard",
    ):
        if split not in SPLITS:
            raise unknown_name("split of toyland", split, SPLITS)
        if difficulty not in DIFFICULTIES:
            raise unknown_name("difficulty of toyland", difficulty, DIFFICULTIES)
        if images < 1:
            raise DataError(f"toyland with {images} images; draw at least 1")
        if not 0 <= seed < 2**32:
            raise DataError(f"seed {seed} of toyland is out of range; use 0..{2**32 - 1}")
        self.split, self.seed, self.difficulty = split, seed, difficulty
        self.class_set = class_set if difficulty == "standard" else replace(class_set, assume_present=False)
        self.samples = _Samples(split, images, seed, labelled, difficulty)
        self.labels_source = "drawn" if labelled else None

    def scene(self, sample: Sample) -> Scene:
        """The scene of a sample. Shared between calls: do not modify it."""
        return _scene(int(sample.id.removeprefix(f"{self.split}_")), self.split, self.seed, self.difficulty)

    def image(self, sample: Sample) -> np.ndarray:
        return self.scene(sample).image.copy()

    def mask(self, sample: Sample) -> np.ndarray:
        return self.scene(sample).labels.copy()

    def boxes(self, sample: Sample) -> Boxes:
        scene = self.scene(sample)
        return Boxes(scene.boxes, np.array([o.index for o in scene.objects], np.int64))

    @property
    def ids(self) -> list[str]:
        return [_id(self.split, index) for index in range(len(self))]  # samples would draw every image

    @property
    def unlabelled(self) -> int:
        return 0 if self.labels_source else len(self)  # counting would draw every image

    @property
    def has_masks(self) -> bool:
        return True


class _Samples(Lazy[Sample]):
    """Samples created on access, because their labels require drawing the image."""

    def __init__(self, split: str, size: int, seed: int, labelled: bool, difficulty: str):
        self.split, self.size, self.seed, self.labelled, self.difficulty = split, size, seed, labelled, difficulty

    def __len__(self) -> int:
        return self.size

    def at(self, i: int) -> Sample:
        labels = _scene(i, self.split, self.seed, self.difficulty).present if self.labelled else None
        return Sample(_id(self.split, i), labels=labels)


def _id(split: str, index: int) -> str:
    return f"{split}_{index:06d}"
