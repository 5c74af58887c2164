"""Datasets: finite, ordered collections of samples with one class set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError
from .classes import IGNORE, ClassSet
from .images import read_labels, read_orientation, read_rgb
from .orientation import turn
from .samples import Labelled, has_masks, ids_of
from .samples import Sample as Sample


@dataclass(frozen=True)
class Boxes:
    """Ground-truth boxes of an image: ``xyxy`` float32 (n, 4) in pixels, ``classes`` int64 (n,) foreground indices."""

    xyxy: np.ndarray
    classes: np.ndarray


def check_values(labels: np.ndarray, classes: int, where: str | Path) -> None:
    """Raise ImageError, naming ``where``, unless a label map uint8 has values 0..``classes`` and 255 only."""
    counts = np.bincount(labels.ravel(), minlength=256)
    strange = np.flatnonzero(counts[classes + 1 : IGNORE]) + classes + 1
    if strange.size:
        shown = ", ".join(map(str, strange[:5])) + (", ..." if strange.size > 5 else "")
        raise ImageError(f"{where}: label values {shown} are outside 0..{classes} and {IGNORE}; check the class set")


class Dataset:
    """A finite, ordered, re-iterable collection of samples with one class set.

    Images and label maps are read from the files of the samples; datasets that draw or rasterise them override the
    methods. Label maps and boxes match the stored pixels of their images.

    Attributes:
        name: ``voc``, ``coco``, ``folder``, ``webdataset`` or ``toyland``.
        split: name of the split and of its list.
        class_set: the classes.
        samples: the samples in order.
        labels_source: source of the image-level labels, for the record; None if there are none.
        drawn: whether images and ground truth are generated, so that none can be missing or damaged.
        seed: random seed of the drawn images; 0 if they are files.
        difficulty: of the drawn images.
        elsewhere: how many entries of the label file are of images outside the split, in words; empty if none are.
        unmatched: how many entries of the label file name no image at all, in words; empty if there are none.
        passed_over: how many files of its folder are not among the samples, by kind, in words; empty if there are none.
    """

    name: str
    split: str
    class_set: ClassSet
    samples: Sequence[Sample]
    labels_source: str | None = None
    drawn: bool = False
    seed: int = 0
    difficulty: str = "standard"
    elsewhere: str = ""
    unmatched: str = ""
    passed_over: str = ""

    @property
    def title(self) -> str:
        """The dataset and its split, in words."""
        return f"{self.name} {self.split}"

    @property
    def remarks(self) -> list[str]:
        """Files that were passed over and entries of the label file without an image, in sentences."""
        return [text for text in (self.passed_over, self.elsewhere, self.unmatched) if text]

    @property
    def outside(self) -> Collection[str]:
        """Ids of images that its folder has outside the split, as far as it knows them."""
        return ()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, i: int) -> Sample:
        return self.samples[i]

    def image(self, sample: Sample) -> np.ndarray:
        """The stored pixels of the image, uint8 (H, W, 3) RGB. Raises ImageError if it cannot be read."""
        assert sample.file is not None
        return read_rgb(sample.file)

    def orientation(self, sample: Sample) -> int:
        """The EXIF orientation of the image, 1..8; see ``data.orientation``. Raises ImageError if it cannot be read."""
        return 1 if sample.file is None else read_orientation(sample.file)

    def upright(self, sample: Sample) -> np.ndarray:
        """The image as models should see it, uint8 (H, W, 3) RGB. Raises ImageError if it cannot be read."""
        return turn(self.image(sample), self.orientation(sample))

    def mask(self, sample: Sample) -> np.ndarray | None:
        """The ground-truth label map, uint8 (H, W) with 0 background, 1..K, 255 ignore; None if there is none.

        Raises ImageError if it cannot be read. The caller has to check that it has the size of the image.
        """
        return None if sample.mask is None else read_labels(sample.mask)

    def check_mask(self, sample: Sample) -> tuple[int, int] | None:
        """Check the ground-truth label map, possibly without generating it; return its height and width, or None.

        Raises ImageError where ``mask`` does, and for labels outside the class set.
        """
        labels = self.mask(sample)
        if labels is None:
            return None
        check_values(labels, len(self.class_set.names), sample.mask or sample.id)
        return labels.shape[0], labels.shape[1]

    def boxes(self, sample: Sample) -> Boxes | None:
        """The ground-truth boxes (for the oracle mode only); None if there are none."""
        return None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the samples in order."""
        return ids_of(self.samples)

    @property
    def unlabelled(self) -> int:
        """Number of samples without image-level labels."""
        if self.labels_source is None:
            return len(self)
        if isinstance(self.samples, Labelled):
            return self.samples.labels.unknown
        return sum(s.labels is None for s in self)

    @property
    def has_masks(self) -> bool:
        """Whether every sample has a ground-truth label map."""
        return has_masks(self.samples)
