"""Evaluation of a folder of label maps over a list of images."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..data.base import Dataset
from ..data.classes import IGNORE, read_names
from ..data.corrections import Corrections
from ..data.ids import check_id
from ..data.images import read_labels
from ..data.lazy import Index, Texts
from ..data.orientation import Orientation, turn
from ..data.voc_layout import CLASSES, LISTS, MASKS, Layout, file_name, id_of, layout_of
from ..errors import DataError, ImageError, unknown_name
from ..io.prefetch import prefetch_map
from ..io.progress import Progress
from ..io.source import Location, SomeLocation, Source
from ..io.text import read_lines
from . import metrics
from .boundary import boundary_counts
from .confusion import confusion_matrix, joint_histogram
from .metrics import POLICIES, Policy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Metrics over a list of images, as fractions; None where undefined.

    Metrics exist only if every image of the list could be compared: skipping images would bias them. Images without a
    prediction are left out only on request (``finished``), and counted.

    Attributes:
        names: the classes, background first.
        images: length of the list, with ``finished`` without the images that have no prediction.
        policy: treatment of predicted ignore labels in all metrics except ``miou_by_policy``.
        missing: ids without a prediction.
        errors: id and error of label maps that could not be compared (unreadable, wrong size, invalid labels).
        confusion: int64 (C, C + 1), rows ground truth, columns predictions, the last one predicted ignore labels.
        miou: mean IoU over the classes with ground-truth pixels, background included.
        per_class_iou: IoU by name; None for a class without ground-truth pixels.
        pixel_accuracy: share of correct pixels.
        boundary_iou: mean over the classes of the IoU of the bands along the outlines, 2 % of the diagonal wide.
        per_class_boundary_iou: the same by name.
        coverage: share of pixels that are not ignored in the prediction.
        miou_by_policy: ``miou`` under each policy.
        unfinished: number of images left out by ``finished``, as they have no prediction.
        rejected: number of images left out because they were rejected in review.
    """

    names: tuple[str, ...]
    images: int
    policy: Policy
    missing: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]
    confusion: np.ndarray = field(repr=False)
    miou: float | None
    per_class_iou: dict[str, float | None]
    pixel_accuracy: float | None
    boundary_iou: float | None
    per_class_boundary_iou: dict[str, float | None]
    coverage: float | None
    miou_by_policy: dict[str, float | None]
    unfinished: int = 0
    rejected: int = 0

    @property
    def complete(self) -> bool:
        """Whether every image of the list was compared."""
        return not self.missing and not self.errors

    @property
    def exit_status(self) -> int:
        """0 with metrics, 2 without."""
        return 0 if self.complete else 2

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON values."""
        return {
            "miou": self.miou,
            "per_class_iou": self.per_class_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "boundary_iou": self.boundary_iou,
            "per_class_boundary_iou": self.per_class_boundary_iou,
            "coverage": self.coverage,
            "miou_by_policy": self.miou_by_policy,
            "policy": self.policy,
            "images": self.images,
            "unfinished": self.unfinished,
            "rejected": self.rejected,
            "missing": list(self.missing),
            "errors": [{"id": name, "error": error} for name, error in self.errors],
        }


def evaluate(
    pred: Location,
    gt: Dataset | Path,
    *,
    ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    policy: Policy = "background",
    orientation: Orientation = "stored",
    finished: bool = False,
    corrected: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate label maps at the original resolution, with one confusion matrix over the whole list.

    Args:
        pred: folder of index PNGs named ``<id>.png``, or a run folder, which may be on object storage.
        gt: a dataset with ground truth, or a folder of index PNGs, itself or in SegmentationClass.
        ids: the list; by default every image of ``gt``. Predictions of other images are not looked at, so ground truth
            of a part of the images is enough.
        names: the classes, background first; by default the dataset's, else those of ``classes.txt`` beside the
            predictions or the ground truth.
        policy: treatment of predicted ignore labels.
        orientation: what the predictions match. For ``upright`` the ground truth of a dataset is turned by the EXIF
            orientation of its images; that in a folder has to be upright.
        finished: leave out images without a prediction instead of listing them as missing, to score an unfinished run.
        corrected: if ``pred`` or ``gt`` is a run folder, use its corrected masks, and leave out rejected images.
        progress: shows that label maps are scored, if it takes long.

    Missing, unreadable, wrongly sized and out-of-range label maps are listed in the result, which then has no metrics.

    Raises:
        WsssError: a folder is missing, the list is empty or has a duplicate, the classes are unknown, or nothing is
            finished.
    """
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    start = time.monotonic()
    masks, layout = mask_folder(pred)
    corrections = Corrections(pred) if corrected and masks.parent == pred else None
    truth_of, every = ground_truth(gt, orientation, corrected=corrected)
    ids = every() if ids is None else ids
    if not ids:
        raise DataError(
            f"{gt if isinstance(gt, Path) else gt.name}: no ground truth to compare with; check `gt` and `list`"
        )
    if repeated := Index(ids).repeated():
        most = max(repeated, key=len)
        raise DataError(f"the list has '{ids[most[0]]}' {len(most)} times; name each image once")
    listed = len(ids)
    if corrections is not None and corrections.rejected:
        ids = Texts(name for name in ids if name not in corrections.rejected)
        if not ids:
            raise DataError(f"{pred}: all {listed} predictions were rejected in review")
    everything = len(ids)
    if finished:
        ids = Texts(name for name in ids if _exists(masks / f"{file_name(name, layout)}.png"))
        if not ids:
            raise DataError(f"{pred}: no prediction of any of the {everything} images with ground truth; check `pred`")
    if names is None:
        names = ("background", *gt.class_set.names) if isinstance(gt, Dataset) else _class_names(pred, gt)
    classes = len(names)

    def compare(name: str) -> tuple[np.ndarray, np.ndarray] | None:
        path = masks / f"{file_name(name, layout)}.png"
        if corrections is not None:
            path = corrections.mask(name, path)
        if not _exists(path):
            return None
        prediction, truth = read_labels(path), truth_of(name)
        if prediction.shape != truth.shape:
            sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (prediction.shape, truth.shape))
            raise ImageError(f"{path}: {sizes} pixels in ground truth; predictions have the size of the image")
        histogram = joint_histogram(truth, prediction)
        for axis, what in ((1, "ground truth"), (0, "prediction")):
            beyond = np.flatnonzero(histogram.sum(axis=axis)[classes:IGNORE])
            if beyond.size:
                raise ImageError(f"{path}: {what} has the value {classes + beyond[0]}, but there are {classes} classes")
        return histogram, _boundary(truth, prediction, policy)

    histogram = np.zeros((256, 256), dtype=np.int64)
    bands = np.zeros((3, 256), dtype=np.int64)
    missing: list[str] = []
    errors: list[tuple[str, str]] = []
    workers = min(8, os.cpu_count() or 1)
    with progress.within("scoring", "image", len(ids)) if progress is not None else nullcontext() as shown:
        for name, counts in prefetch_map(compare, ids, workers=workers, depth=2 * workers):
            try:
                compared = counts.result()
            except ImageError as error:
                errors.append((name, str(error)))
            else:
                if compared is None:
                    missing.append(name)
                else:
                    histogram += compared[0]
                    bands += compared[1]
            if shown is not None:
                shown.step()
    log.info("evaluated %d images in %.1f s", len(ids), time.monotonic() - start)
    evaluation = _evaluation(tuple(names), len(ids), policy, missing, errors, histogram, bands)
    return replace(evaluation, unfinished=everything - len(ids), rejected=listed - everything)


def mask_folder(folder: SomeLocation) -> tuple[SomeLocation, Layout]:
    """The folder of the label maps, SegmentationClass if there is one, else the folder itself; and how they are named.

    Raises WsssError if there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of the label maps")
    inner = cast(SomeLocation, folder / MASKS)
    if inner.is_dir():
        return inner, layout_of(folder)
    return folder, layout_of(folder.parent) if folder.name == MASKS else "flat"


def read_ids(path: Path) -> list[str]:
    """The ids of a list file, one per line. Raises WsssError if it cannot be read or an id is invalid."""
    layout = layout_of(path.absolute().parents[2]) if path.absolute().parent.parent.name == LISTS else "flat"
    return [id_of(check_id(line, f"{path}, line {number}"), layout) for number, line in read_lines(path)]


def ground_truth(
    gt: Dataset | Path, orientation: Orientation = "stored", *, corrected: bool = True
) -> tuple[Callable[[str], np.ndarray], Callable[[], Sequence[str]]]:
    """Functions for the ground truth of an id (raises ImageError) and for all ids; see ``evaluate``."""
    if isinstance(gt, Dataset):
        index = Index(gt.ids)

        def of_dataset(name: str) -> np.ndarray:
            place = index.position(name)
            sample = None if place < 0 else gt[place]
            mask = None if sample is None else gt.mask(sample)
            if sample is None or mask is None:
                raise ImageError(f"{name}: no ground truth in {gt.name} {gt.split}; remove it from the list")
            return mask if orientation == "stored" else turn(mask, gt.orientation(sample))

        return of_dataset, lambda: gt.ids
    folder, layout = mask_folder(gt)
    corrections = Corrections(gt) if corrected and folder.parent == gt else None
    rejected = frozenset[str]() if corrections is None else corrections.rejected

    def every() -> list[str]:
        names = (path.relative_to(folder).as_posix().removesuffix(".png") for path in folder.rglob("*.png"))
        return sorted({id_of(name, layout) for name in names} - rejected)

    def of_folder(name: str) -> np.ndarray:
        path = folder / f"{file_name(name, layout)}.png"
        return read_labels(path if corrections is None else corrections.mask(name, path))

    return of_folder, every


def _exists(path: Location) -> bool:
    # Path.exists raises for a name that is too long
    return path.exists() if isinstance(path, Source) else os.path.exists(path)


def _class_names(pred: Location, gt: Path) -> tuple[str, ...]:
    for folder in (pred, gt):
        for path in (folder / CLASSES, folder.parent / CLASSES):
            if path.is_file() and (path.parent == folder or folder.name == MASKS):
                return read_names(path)
    raise DataError(f"{pred}: no {CLASSES} beside the label maps; name the classes with `classes`")


def _boundary(truth: np.ndarray, prediction: np.ndarray, policy: Policy) -> np.ndarray:
    ignored = prediction == IGNORE
    if policy == "background":
        return boundary_counts(truth, np.where(ignored, np.uint8(0), prediction))
    return boundary_counts(truth, prediction, ignored if policy == "skip" else None)


def _evaluation(
    names: tuple[str, ...],
    images: int,
    policy: Policy,
    missing: Sequence[str],
    errors: Sequence[tuple[str, str]],
    histogram: np.ndarray,
    bands: np.ndarray,
) -> Evaluation:
    complete = not missing and not errors

    def metric(value: float) -> float | None:
        return float(value) if complete and not math.isnan(value) else None

    confusion = confusion_matrix(histogram, len(names))
    resolved = metrics.resolve_ignored(confusion, policy)
    iou = metrics.iou(resolved)
    boundary = metrics.boundary_iou(bands[:, : len(names)])
    return Evaluation(
        names=names,
        images=images,
        policy=policy,
        missing=tuple(missing),
        errors=tuple(errors),
        confusion=confusion,
        miou=metric(metrics.mean(iou)),
        per_class_iou={name: metric(value) for name, value in zip(names, iou, strict=True)},
        pixel_accuracy=metric(metrics.pixel_accuracy(resolved)),
        boundary_iou=metric(metrics.mean(boundary)),
        per_class_boundary_iou={name: metric(value) for name, value in zip(names, boundary, strict=True)},
        coverage=metric(metrics.coverage(confusion)),
        miou_by_policy={
            other: metric(metrics.mean(metrics.iou(metrics.resolve_ignored(confusion, other)))) for other in POLICIES
        },
    )
