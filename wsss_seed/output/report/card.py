"""Pictures, metrics and evidence of one image of the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.classes import IGNORE
from ...data.images import read_labels, read_rgb
from ...errors import ImageError
from ...evaluation.confusion import joint_histogram
from ..finished import FinishedRun
from ..manifest import Record
from ..run_folder import confidence_path, image_path
from .evidence import Box, EvidenceOf, Missed, Rivals, missed, rivals
from .pictures import Enlarged, Picture, enlarged, index_png, photograph

TruthOf = Callable[[str], np.ndarray]
"""Returns the ground truth of an id, uint8 (H, W). Raises ImageError if there is none."""

RIGHT, WRONG, UNDECIDED, UNCOUNTED = range(4)
ERROR_COLOURS = ((0, 0, 0), (230, 40, 40), (250, 200, 40), (128, 128, 128))
"""Colours of correct (transparent), wrong, ignored, and void pixels (ignored in ground truth)."""


@dataclass(frozen=True)
class Card:
    """One image of the report.

    Attributes:
        id: of the image.
        uncertainty: 0..1, mean over the pixels of 1 - confidence, where ignored pixels have confidence 0.
        ignore: share of ignored pixels.
        size: width and height of the image in pixels.
        notes: notes of the run about the image.
        pictures: the thumbnails by name: image, mask, confidence, truth, errors.
        enlarged: the enlarged view, with the maps ``mask`` and perhaps ``truth``.
        boxes: the boxes that the detector found, best first.
        missed: classes without a pixel in the mask that may be in the image.
        rivals: classes that compete for the same place.
        labels: labels in mask or ground truth, without the ignore label.
        iou: mean IoU over ``labels``, ignored pixels counted as background; None without ground truth.
        ious: IoU of each label.
        trouble: why there is no ground truth although it was requested; empty otherwise.
        pixels: int64 (256,) pixels by label.
        doubt: float64 (256,) sum of 1 - confidence over the pixels of each label.
        joint: int64 (256, 256) pixels by ground truth and prediction; None without ground truth.
    """

    id: str
    uncertainty: float
    ignore: float
    size: tuple[int, int]
    notes: tuple[str, ...]
    pictures: Mapping[str, Picture]
    enlarged: Enlarged
    boxes: tuple[Box, ...]
    missed: tuple[Missed, ...]
    rivals: tuple[Rivals, ...]
    labels: tuple[int, ...]
    iou: float | None
    ious: dict[int, float]
    trouble: str
    pixels: np.ndarray
    doubt: np.ndarray
    joint: np.ndarray | None

    @property
    def doubted(self) -> float:
        """How much suggests that the mask is wrong: the uncertainty, or the classes that it may have missed."""
        return max(self.uncertainty, sum(m.score for m in self.missed))

    def without_counts(self) -> Card:
        """A copy without the histograms, which take half a megabyte per image."""
        return dataclasses.replace(self, pixels=np.zeros(0), doubt=np.zeros(0), joint=None)

    @property
    def key(self) -> tuple[bool, float, str]:
        """Sort key, worst first. Cards with missing ground truth come first."""
        return (self.trouble == "", -self.doubted if self.iou is None else self.iou, self.id)

    def summary(self) -> dict[str, Any]:
        """What the script of the page filters and orders by."""
        return {
            "id": self.id,
            "uncertainty": round(self.uncertainty, 4),
            "ignore": round(self.ignore, 4),
            "labels": self.labels,
            "iou": None if self.iou is None else round(self.iou, 4),
            "ious": {label: round(value, 4) for label, value in self.ious.items()},
            "missed": [[m.label, m.source, round(m.score, 4)] for m in self.missed],
            "pairs": [_pair(pair) for pair in self.rivals],
        }

    def detail(self) -> dict[str, Any]:
        """What else it shows, without pictures."""
        return {
            "size": self.size,
            "notes": self.notes,
            "trouble": self.trouble,
            "boxes": [_box(box) for box in self.boxes],
        }


def _box(box: Box) -> dict[str, Any]:
    scores = {key: None if (v := getattr(box, key)) is None else round(v, 3) for key in ("score", "crop", "final")}
    known = {"cls": box.cls, "role": box.role, "why": box.why}
    return known | scores | {"box": [round(x, 2) for x in box.box]}


def _pair(pair: Rivals) -> list[float]:
    """The labels, the strength, and what it comes from."""
    return [*pair.labels, *(round(v, 4) for v in (pair.strength, pair.iou, *pair.scores, pair.undecided))]


def make_card(run: FinishedRun, record: Record, truth_of: TruthOf | None, evidence_of: EvidenceOf, side: int) -> Card:
    """Read the files of an image.

    Args:
        run: the run.
        record: of the image.
        truth_of: for its ground truth.
        evidence_of: for its boxes.
        side: longest side of the enlarged view in pixels.

    Raises:
        ImageError: image, mask or confidence map is invalid.
    """
    image = read_rgb(image_path(run.path, record.id, run.layout))
    labels = read_map(run.mask(record.id), image)
    confidence = _fitting(run.confidence(record.id), confidence_path(run.path, record.id, run.layout), image)
    height, width = labels.shape
    ignored = labels == IGNORE
    pixels = np.bincount(labels.ravel(), minlength=256)
    doubt = np.where(ignored, 1.0, 1.0 - confidence / np.float32(255))
    pictures = {
        "image": photograph(image),
        "mask": index_png(labels, run.palette),
        "confidence": photograph(confidence),
    }
    joint, trouble, ious, maps = None, "", {}, {"mask": labels}
    if truth_of is not None:
        try:
            truth = read_truth(truth_of, record.id, labels, len(run.names))
        except ImageError as error:
            trouble = str(error)
        else:
            maps["truth"] = truth
            joint = joint_histogram(truth, labels)
            ious = label_ious(joint, len(run.names))
            pictures["truth"] = index_png(truth, run.palette)
            pictures["errors"] = index_png(errors(truth, labels), ERROR_COLOURS)
    seen = np.flatnonzero(pixels[:IGNORE])
    evidence = evidence_of(record)
    return Card(
        id=record.id,
        uncertainty=float(doubt.mean()),
        ignore=float(ignored.mean()),
        size=(width, height),
        notes=tuple(note for note in (*record.notes, evidence.note) if note),
        pictures=pictures,
        enlarged=enlarged(image, maps, side),
        boxes=evidence.boxes,
        missed=missed(record, evidence.clip, run.names, pixels, None if joint is None else joint.sum(1)),
        rivals=rivals(evidence.boxes, run.names, labels),
        labels=tuple(ious) if joint is not None else tuple(int(v) for v in seen),
        iou=float(np.mean(list(ious.values()))) if ious else None,
        ious=ious,
        trouble=trouble,
        pixels=pixels,
        doubt=np.bincount(labels.ravel(), doubt.ravel(), minlength=256),
        joint=joint,
    )


def read_map(path: Any, image: np.ndarray) -> np.ndarray:
    """A label or confidence map, uint8 (H, W). Raises ImageError if its size is not that of the image."""
    return _fitting(read_labels(path), path, image)


def _fitting(values: np.ndarray, path: Path, image: np.ndarray) -> np.ndarray:
    if values.shape != image.shape[:2]:
        sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (values.shape, image.shape))
        raise ImageError(f"{path}: {sizes} pixels in the image; make the mask again")
    return values


def read_truth(truth_of: TruthOf, name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """The ground truth of an image, uint8 (H, W). Raises ImageError if there is none, or it does not fit the mask.

    Args:
        truth_of: for the ground truth.
        name: id of the image.
        labels: uint8 (H, W) its mask.
        classes: number of classes, background included.
    """
    truth = truth_of(name)
    if truth.shape != labels.shape:
        sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (truth.shape, labels.shape))
        raise ImageError(f"{name}: ground truth of {sizes} pixels in the mask")
    beyond = truth[(truth >= classes) & (truth != IGNORE)]
    if beyond.size:
        raise ImageError(f"{name}: ground truth has the value {beyond[0]}, but there are {classes} classes")
    return truth


def label_ious(joint: np.ndarray, classes: int) -> dict[int, float]:
    """IoU of the labels in either map; ignored predictions count as background, ignored ground truth is excluded."""
    counted = joint[:classes, :classes].copy()
    counted[:, 0] += joint[:classes, IGNORE]
    hits = np.diagonal(counted)
    union = counted.sum(0) + counted.sum(1) - hits
    return {int(label): float(hits[label] / union[label]) for label in np.flatnonzero(union)}


def errors(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """uint8 (H, W), whether each pixel of a mask is right, wrong, undecided or not counted."""
    kinds = np.where(truth == labels, RIGHT, WRONG).astype(np.uint8)
    kinds[labels == IGNORE] = UNDECIDED
    kinds[truth == IGNORE] = UNCOUNTED
    return kinds
