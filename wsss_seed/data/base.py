"""What a dataset is: a finite, ordered collection of samples with one class set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .classes import ClassSet


@dataclass(frozen=True)
class Sample:
    """One image to be seeded.

    Attributes:
        id: name of the image within its dataset, ``/`` between folders, without suffix.
        image: path of the image file; None where the image is drawn.
        labels: foreground indices (0-based, ascending) of the image-level labels; None where unknown.
        mask: path of the ground-truth label map; None where there is none or it is drawn or rasterised.
    """

    id: str
    image: Path | None = None
    labels: tuple[int, ...] | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Boxes:
    """Ground-truth boxes of an image: ``xyxy`` float32 (n, 4) in pixels, ``classes`` int64 (n,) foreground indices."""

    xyxy: np.ndarray
    classes: np.ndarray


class Dataset(ABC):
    """A finite, ordered, re-iterable collection of samples with one class set."""

    name: str
    split: str
    class_set: ClassSet
    samples: list[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, i: int) -> Sample:
        return self.samples[i]

    @abstractmethod
    def image(self, sample: Sample) -> np.ndarray:
        """The image, uint8 (H, W, 3) RGB. Raises ImageError if it cannot be read."""

    def mask(self, sample: Sample) -> np.ndarray | None:
        """The ground-truth label map, uint8 (H, W) with 0 background, 1..K, 255 ignore; None where there is none."""
        return None

    def boxes(self, sample: Sample) -> Boxes | None:
        """The ground-truth boxes (for the oracle mode only); None where there are none."""
        return None

    @property
    def has_masks(self) -> bool:
        """Whether ground truth exists for every sample."""
        return False
