"""Checks a dataset by reading every image, label map and label once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, WsssError
from ..io.prefetch import prefetch_map
from .base import Dataset, Sample, check_values
from .classes import IGNORE, shared_phrases
from .ids import folded, id_fault
from .images import image_size


@dataclass
class Report:
    """Findings of ``check_dataset``.

    Attributes:
        images: number of samples.
        smallest, largest: width and height of the images with the fewest and the most pixels.
        masks: number of readable label maps.
        labelled: number of samples with image-level labels.
        labels_source: source of the image-level labels.
        images_per_class: class name -> number of images with the class, by label maps or else by image-level labels.
        ignore_share: share of label map pixels with the ignore label.
        no_background: number of label maps without background.
        labels_differ: number of images whose labels and label map have different classes; VOC's detection and
            segmentation labels disagree on hundreds of images, so this alone is not a problem.
        turned: number of images that EXIF turns; label maps match their stored pixels.
        unmatched: how many entries of the label file name none of the images, in words; empty if there are none.
        warnings: what to know of the class set, one sentence each.
        problems: one line per problem.
    """

    dataset: str
    split: str
    classes: int
    images: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    masks: int = 0
    labelled: int = 0
    labels_source: str | None = None
    images_per_class: dict[str, int] = field(default_factory=dict)
    ignore_share: float | None = None
    no_background: int = 0
    labels_differ: int = 0
    turned: int = 0
    unmatched: str = ""
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, ``problems`` among them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


def check_dataset(dataset: Dataset, on_image: Callable[[], object] = lambda: None) -> Report:
    """Read a whole dataset, one image at a time, and report its problems.

    Problems are images and label maps that cannot be read, missing label maps where others exist, label maps that
    differ in size from their image or have values outside 0..K and 255, and ids that are invalid on Windows or that
    differ only in case or in Unicode normalization, which collide on some file systems.

    Args:
        dataset: any dataset.
        on_image: called after each image, e.g. to show progress.
    """
    names = dataset.class_set.names
    report = Report(
        dataset.name,
        dataset.split,
        len(names),
        labels_source=dataset.labels_source,
        unmatched=dataset.unmatched,
        warnings=shared_phrases(dataset.class_set),
    )
    per_class: Counter[int] = Counter()
    some_masks = dataset.has_masks or any(s.mask is not None for s in dataset)
    ignored = pixels = 0
    seen: dict[str, str] = {}
    for sample in dataset:
        report.images += 1
        twin = seen.setdefault(folded(sample.id), sample.id)
        if twin != sample.id:
            report.problems.append(
                f"{sample.id}: differs from {twin} only in case or Unicode normalization; rename one of them"
            )
        if fault := id_fault(sample.id):
            report.problems.append(f"{sample.id}: {fault}; rename the image")
        size = _check_image(dataset, sample, report)
        labels = _check_mask(dataset, sample, size, report) if some_masks else None
        if labels is not None:
            counts = np.bincount(labels.ravel(), minlength=256)
            ignored, pixels = ignored + int(counts[IGNORE]), pixels + labels.size
            report.no_background += int(counts[0] == 0)
        shown = None if labels is None else tuple(int(v) - 1 for v in np.unique(labels) if 0 < v <= len(names))
        if sample.labels is not None:
            report.labelled += 1
            report.labels_differ += int(shown is not None and shown != sample.labels)
        per_class.update(shown if shown is not None else sample.labels or ())
        on_image()
    report.images_per_class = {name: per_class[i] for i, name in enumerate(names)}
    report.ignore_share = ignored / pixels if pixels else None
    return report


def _check_image(dataset: Dataset, sample: Sample, report: Report) -> tuple[int, int] | None:
    """Height and width of the image; None if it cannot be read."""
    try:
        height, width = dataset.image(sample).shape[:2]
        report.turned += dataset.orientation(sample) != 1
    except WsssError as e:
        report.problems.append(str(e))
        return None
    size = (width, height)
    if report.smallest is None or width * height < report.smallest[0] * report.smallest[1]:
        report.smallest = size
    if report.largest is None or width * height > report.largest[0] * report.largest[1]:
        report.largest = size
    return height, width


def _check_mask(dataset: Dataset, sample: Sample, size: tuple[int, int] | None, report: Report) -> np.ndarray | None:
    """The label map, if it can be read."""
    try:
        labels = dataset.mask(sample)
    except WsssError as e:
        report.problems.append(str(e))
        return None
    if labels is None:
        report.problems.append(f"{sample.id}: no label map, though other images have one")
        return None
    report.masks += 1
    where = sample.mask or sample.id
    try:
        check_values(labels, len(dataset.class_set.names), where)
    except ImageError as e:
        report.problems.append(str(e))
    if size is not None and labels.shape != size:
        report.problems.append(_sizes_differ(where, labels.shape[:2], size))
    return labels


def _sizes_differ(where: str | Path, labels: tuple[int, ...], image: tuple[int, ...]) -> str:
    return f"{where}: the label map is {labels[1]}x{labels[0]}, its image {image[1]}x{image[0]}"


def truth_faults(dataset: Dataset, samples: Sequence[Sample]) -> Iterator[str]:
    """Problems of ground truth, one line per affected image, so that they are found before a run rather than after it.

    Reads label maps, annotations and headers of images in threads. Problems of an image itself are reported when it is
    read.
    """

    def fault(sample: Sample) -> str | None:
        try:
            labels = dataset.check_mask(sample)
        except ImageError as e:
            return str(e)
        if labels is None or sample.image is None:
            return None
        try:
            width, height = image_size(sample.image)
        except ImageError:
            return None
        return None if labels == (height, width) else _sizes_differ(sample.mask or sample.id, labels, (height, width))

    workers = min(8, os.cpu_count() or 1)
    with closing(prefetch_map(fault, samples, workers=workers, depth=4 * workers)) as faults:
        for _, found in faults:
            if (text := found.result()) is not None:
                yield text
