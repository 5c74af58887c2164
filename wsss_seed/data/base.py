"""What a dataset is: a finite, ordered collection of samples with one class set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError
from .classes import IGNORE, ClassSet
from .images import read_labels, read_rgb


@dataclass(frozen=True, slots=True)
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


def check_values(labels: np.ndarray, classes: int, where: str | Path) -> None:
    """Raise ImageError unless a label map uint8 has values of 0..``classes`` and 255 only; ``where`` names it."""
    counts = np.bincount(labels.ravel(), minlength=256)
    strange = np.flatnonzero(counts[classes + 1 : IGNORE]) + classes + 1
    if strange.size:
        shown = ", ".join(map(str, strange[:5])) + (", ..." if strange.size > 5 else "")
        raise ImageError(f"{where}: label values {shown} are none of 0..{classes} and {IGNORE}; check the class set")


class Dataset:
    """A finite, ordered, re-iterable collection of samples with one class set.

    Images and label maps are read from the files that the samples name; a dataset that draws or rasterises them
    overrides the methods.

    Attributes:
        name: ``voc``, ``coco``, ``folder`` or ``toyland``.
        split: the part of the dataset, which also names its list.
        class_set: the classes.
        samples: the samples in order.
        labels_source: where the image-level labels come from, for the record; None where there are none.
        drawn: whether images and ground truth are made, so that nothing of them can be missing or damaged.
        seed: of the drawn world, 0 where nothing is drawn.
    """

    name: str
    split: str
    class_set: ClassSet
    samples: Sequence[Sample]
    labels_source: str | None = None
    drawn: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, i: int) -> Sample:
        return self.samples[i]

    def image(self, sample: Sample) -> np.ndarray:
        """The image, uint8 (H, W, 3) RGB. Raises ImageError if it cannot be read."""
        assert sample.image is not None
        return read_rgb(sample.image)

    def mask(self, sample: Sample) -> np.ndarray | None:
        """The ground-truth label map, uint8 (H, W) with 0 background, 1..K, 255 ignore; None where there is none.

        Raises ImageError if it cannot be read. That its size is the image's is for the caller to check.
        """
        return None if sample.mask is None else read_labels(sample.mask)

    def check_mask(self, sample: Sample) -> tuple[int, int] | None:
        """Height and width of the ground-truth label map, None where there is none. A dataset may do without making it.

        Raises ImageError where ``mask`` does, and for labels beyond the classes.
        """
        labels = self.mask(sample)
        if labels is None:
            return None
        check_values(labels, len(self.class_set.names), sample.mask or sample.id)
        return labels.shape[0], labels.shape[1]

    def boxes(self, sample: Sample) -> Boxes | None:
        """The ground-truth boxes (for the oracle mode only); None where there are none."""
        return None

    @property
    def unlabelled(self) -> int:
        """How many samples have no image-level labels."""
        return len(self) if self.labels_source is None else sum(s.labels is None for s in self)

    @property
    def has_masks(self) -> bool:
        """Whether ground truth exists for every sample."""
        return all(s.mask is not None for s in self.samples)
