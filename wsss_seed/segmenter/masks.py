"""Label maps to train on, from a run folder or any VOC tree, all checked before training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..data.base import Dataset, Sample
from ..data.classes import IGNORE
from ..data.corrections import Corrections
from ..data.images import image_size, read_labels
from ..data.orientation import turn
from ..data.voc import Voc
from ..data.voc_layout import CONFIDENCE, Layout
from ..errors import DataError, ImageError
from ..io.prefetch import prefetch_map
from ..output.run_folder import confidence_path
from .crops import TrainingData


@dataclass(frozen=True)
class Checked:
    """Valid label maps.

    Attributes:
        data: images and label maps to train on, upright.
        empty: ids of label maps without a labelled pixel, which are left out.
        pixels: int64 (K + 1,), pixels per class.
        digest: hash of ids, label maps and confidence maps.
    """

    data: TrainingData
    empty: tuple[str, ...]
    pixels: np.ndarray
    digest: str


def check_masks(data: Dataset, *, confidence: bool = False, step: Callable[[], None] | None = None) -> Checked:
    """Read all label maps of a dataset and check that they can be trained on.

    Args:
        data: a dataset with label maps.
        confidence: whether confidence maps are needed too.
        step: called after each image.

    Raises:
        WsssError: a label map is missing, unreadable, differs in size from its image or has labels outside the class
            set; there are no confidence maps; or no pixel is labelled.
    """
    classes = len(data.class_set.names) + 1
    read_confidence = _confidence_of(data) if confidence else None

    def check(sample: Sample) -> tuple[np.ndarray, bytes]:
        where = sample.mask or sample.id
        labels = data.mask(sample)
        if labels is None:
            raise ImageError(f"{sample.id}: no label map in {data.name} {data.split}; remove it from the list")
        size = data.image(sample).shape[1::-1] if sample.image is None else image_size(sample.image)
        if labels.shape[::-1] != size:
            raise ImageError(
                f"{where}: {labels.shape[1]} x {labels.shape[0]} pixels, but its image has {size[0]} x {size[1]}; make "
                "the mask again"
            )
        counts = np.bincount(labels.ravel(), minlength=256)
        beyond = np.flatnonzero(counts[classes:IGNORE])
        if len(beyond):
            raise ImageError(
                f"{where}: label {classes + beyond[0]}, outside the {classes - 1} classes of '{data.class_set.name}'; "
                "give the right class set with `classes`, or make the mask again"
            )
        digest = hashlib.sha256(sample.id.encode("utf-8", "surrogateescape") + b"\0" + labels.tobytes())
        if read_confidence is not None:
            values = read_confidence(sample)
            if values.shape != labels.shape:
                raise ImageError(f"{where}: its confidence map differs in size; make the mask again")
            digest.update(values.tobytes())
        return counts, digest.digest()

    pixels = np.zeros(classes, np.int64)
    samples: list[Sample] = []
    empty: list[str] = []
    digest = hashlib.sha256()
    workers = min(8, os.cpu_count() or 1)
    for sample, found in prefetch_map(check, data, workers=workers, depth=2 * workers):
        counts, part = found.result()
        if counts[:classes].any():
            samples.append(sample)
            digest.update(part)
            pixels += counts[:classes]
        else:
            empty.append(sample.id)
        if step is not None:
            step()
    if not samples:
        raise DataError(f"{data.name} {data.split}: no mask has a labelled pixel, so there is nothing to train on")
    valid = TrainingData(
        samples,
        data.upright,
        partial(_upright, data, partial(_mask, data)),
        None if read_confidence is None else partial(_upright, data, read_confidence),
    )
    return Checked(valid, tuple(empty), pixels, digest.hexdigest()[:16])


def _upright(data: Dataset, read: Callable[[Sample], np.ndarray], sample: Sample) -> np.ndarray:
    return turn(read(sample), data.orientation(sample))


def _mask(data: Dataset, sample: Sample) -> np.ndarray:
    labels = data.mask(sample)
    assert labels is not None
    return labels


def _confidence_of(data: Dataset) -> Callable[[Sample], np.ndarray]:
    if not isinstance(data, Voc) or not (data.root / CONFIDENCE).is_dir():
        raise DataError(
            f"{data.name} {data.split}: no folder {CONFIDENCE}, which train.confidence_weighting needs; train on a run "
            "folder of wsss-seed generate"
        )
    return partial(_confidence, data.root, data.layout, data.corrections)


def _confidence(root: Path, layout: Layout, corrections: Corrections | None, sample: Sample) -> np.ndarray:
    values = read_labels(confidence_path(root, sample.id, layout))
    return values if corrections is None else corrections.confidence(sample.id, values)
