"""A user's annotated images, on which settings are chosen: each with its ground truth, or with its classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.base import Dataset, Sample, check_values
from ..data.classes import IGNORE
from ..data.corrections import Corrections
from ..data.orientation import turn
from ..data.voc import Voc
from ..errors import DataError, ImageError
from ..evaluation.evaluate import ground_truth
from ..types import LoadedSample

FEWEST_IMAGES = 20
"""Fewest images to choose on: with fewer, the spread exceeds what thresholds gain."""


@dataclass(frozen=True, eq=False)
class Example:
    """An annotated image.

    Attributes:
        loaded: the upright image; ``sample.labels`` are its classes, given or from its ground truth.
        truth: the upright ground truth uint8 (H, W); None if only the classes are known.
    """

    loaded: LoadedSample
    truth: np.ndarray | None

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes in the image, foreground indices."""
        return self.loaded.sample.labels or ()


def examples(data: Dataset, gt: Path | None, limit: int | None) -> list[Example]:
    """The annotated images of a dataset: those with ground truth, or if there is none, with image-level labels.

    Args:
        data: the images.
        gt: a folder of label maps that match the stored pixels; by default the dataset's own ground truth. Of a run
            folder that was reviewed, only masks that a person accepted or corrected count.
        limit: use only the first ``limit`` annotated images.

    Raises:
        DataError: fewer than ``FEWEST_IMAGES``, or ground truth that cannot be used: unreadable, of another size than
            its image, or with labels outside the class set.
    """
    if gt is not None:
        truth_of, ids = ground_truth(gt)
        known = set(ids()).intersection(_reviewed(Corrections(gt), ids()))
        samples = [sample for sample in data if sample.id in known]
        if not samples:
            raise DataError(f"{gt}: no label map of the {len(data)} images, such as {data[0].id}.png; check `gt`")
    else:
        truth_of = None
        samples = [sample for sample in data if data.drawn or sample.mask is not None]
        if isinstance(data, Voc) and data.corrections is not None:
            reviewed = set(_reviewed(data.corrections, data.ids))
            samples = [sample for sample in samples if sample.id in reviewed]
    masks = bool(samples) and (gt is not None or data.has_masks or any(s.mask is not None for s in samples))
    if not masks:
        samples = [sample for sample in data if sample.labels is not None]
    samples = samples[:limit]
    if len(samples) < FEWEST_IMAGES:
        what = "ground truth" if masks else "ground truth or image-level labels"
        raise DataError(
            f"{data.name} {data.split}: {len(samples)} images with {what}; calibrating needs at least {FEWEST_IMAGES}, "
            "better 50"
        )
    found: list[Example] = []
    faults: list[str] = []
    for sample in samples:
        try:
            truth = None
            if masks:
                truth = truth_of(sample.id) if truth_of is not None else data.mask(sample)
            found.append(_example(data, sample, truth, gt))
        except ImageError as error:
            faults.append(str(error))
    if faults:
        several = f"; {len(faults)} images in all" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{several}: correct the ground truth or leave these images out")
    return found


def _reviewed(corrections: Corrections, ids: Iterable[str]) -> Iterable[str]:
    """Of the masks of a run, those that a person accepted or corrected, if any were: the others are no ground truth."""
    return corrections.reviewed if corrections else ids


def _example(data: Dataset, sample: Sample, truth: np.ndarray | None, gt: Path | None) -> Example:
    image, exif = data.image(sample), data.orientation(sample)
    if truth is not None:
        where = sample.mask or sample.id if gt is None else gt / f"{sample.id}.png"
        check_values(truth, len(data.class_set.names), where)
        if truth.shape != image.shape[:2]:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (truth.shape, image.shape)]
            raise ImageError(f"{where}: the label map is {sizes[0]}, its image {sizes[1]}")
        if sample.labels is None:
            shown = np.unique(truth)
            sample = replace(sample, labels=tuple(int(v) - 1 for v in shown if v not in (0, IGNORE)))
        truth = turn(truth, exif)
    return Example(LoadedSample(sample, turn(image, exif)), truth)
