"""Thumbnails and metrics of one image of the report."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ...data.classes import IGNORE
from ...data.images import read_labels, read_rgb
from ...errors import ImageError
from ...evaluation.confusion import joint_histogram
from ..finished import FinishedRun
from ..manifest import Record
from ..run_folder import confidence_path, image_path, mask_path

TruthOf = Callable[[str], np.ndarray]
"""Returns the ground truth of an id, uint8 (H, W). Raises ImageError if there is none."""

SIDE = 176
"""Longest side of a thumbnail in pixels."""

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
        pictures: data URIs by name: image, mask, confidence, truth, errors.
        labels: labels in mask or ground truth, without the ignore label.
        iou: mean IoU over ``labels``, ignored pixels counted as background; None without ground truth.
        ious: IoU of each label.
        trouble: why there is no ground truth although it was requested; empty otherwise.
        pixels: int64 (256,) pixels by label.
        joint: int64 (256, 256) pixels by ground truth and prediction; None without ground truth.
    """

    id: str
    uncertainty: float
    ignore: float
    size: tuple[int, int]
    notes: tuple[str, ...]
    pictures: dict[str, str]
    labels: tuple[int, ...]
    iou: float | None
    ious: dict[int, float]
    trouble: str
    pixels: np.ndarray
    joint: np.ndarray | None

    def without_counts(self) -> Card:
        """A copy without the histograms, which take half a megabyte per image."""
        return dataclasses.replace(self, pixels=np.zeros(0), joint=None)

    def to_json(self) -> dict[str, Any]:
        """Data for the script of the page."""
        return {
            "id": self.id,
            "uncertainty": round(self.uncertainty, 4),
            "ignore": round(self.ignore, 4),
            "size": self.size,
            "notes": self.notes,
            "labels": self.labels,
            "iou": None if self.iou is None else round(self.iou, 4),
            "ious": {label: round(value, 4) for label, value in self.ious.items()},
            "trouble": self.trouble,
            "pictures": self.pictures,
        }


def make_card(run: FinishedRun, record: Record, truth_of: TruthOf | None) -> Card:
    """Read the files of an image. Raises ImageError if image, mask or confidence map is invalid."""
    image = read_rgb(image_path(run.path, record.id))
    labels = _labels(mask_path(run.path, record.id), read_labels, image)
    confidence = _labels(confidence_path(run.path, record.id), read_labels, image)
    height, width = labels.shape
    ignored = labels == IGNORE
    pixels = np.bincount(labels.ravel(), minlength=256)
    pictures = {
        "image": _photograph(image),
        "mask": _index_png(labels, run.palette),
        "confidence": _photograph(confidence),
    }
    joint, trouble, ious = None, "", {}
    if truth_of is not None:
        try:
            truth = _truth(truth_of(record.id), labels, len(run.names), record.id)
        except ImageError as error:
            trouble = str(error)
        else:
            joint = joint_histogram(truth, labels)
            ious = _ious(joint, len(run.names))
            pictures["truth"] = _index_png(truth, run.palette)
            pictures["errors"] = _index_png(_errors(truth, labels), ERROR_COLOURS)
    seen = np.flatnonzero(pixels[:IGNORE])
    return Card(
        id=record.id,
        uncertainty=float(np.where(ignored, 1.0, 1.0 - confidence / np.float32(255)).mean()),
        ignore=float(ignored.mean()),
        size=(width, height),
        notes=record.notes,
        pictures=pictures,
        labels=tuple(ious) if joint is not None else tuple(int(v) for v in seen),
        iou=float(np.mean(list(ious.values()))) if ious else None,
        ious=ious,
        trouble=trouble,
        pixels=pixels,
        joint=joint,
    )


def _labels(path: Any, read: Callable[[Any], np.ndarray], image: np.ndarray) -> np.ndarray:
    values = read(path)
    if values.shape != image.shape[:2]:
        sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (values.shape, image.shape))
        raise ImageError(f"{path}: {sizes} pixels in the image; make the mask again")
    return values


def _truth(truth: np.ndarray, labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    if truth.shape != labels.shape:
        sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (truth.shape, labels.shape))
        raise ImageError(f"{name}: ground truth of {sizes} pixels in the mask")
    beyond = truth[(truth >= classes) & (truth != IGNORE)]
    if beyond.size:
        raise ImageError(f"{name}: ground truth has the value {beyond[0]}, but there are {classes} classes")
    return truth


def _ious(joint: np.ndarray, classes: int) -> dict[int, float]:
    """IoU of the labels in either map; ignored predictions count as background, ignored ground truth is excluded."""
    counted = joint[:classes, :classes].copy()
    counted[:, 0] += joint[:classes, IGNORE]
    hits = np.diagonal(counted)
    union = counted.sum(0) + counted.sum(1) - hits
    return {int(label): float(hits[label] / union[label]) for label in np.flatnonzero(union)}


def _errors(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    kinds = np.where(truth == labels, RIGHT, WRONG).astype(np.uint8)
    kinds[labels == IGNORE] = UNDECIDED
    kinds[truth == IGNORE] = UNCOUNTED
    return kinds


def _fit(picture: Image.Image, how: Image.Resampling) -> Image.Image:
    scale = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, how)


def _photograph(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    _fit(Image.fromarray(pixels), Image.Resampling.BOX).save(buffer, "WEBP", quality=65, method=2)
    return _uri("webp", buffer)


def _index_png(labels: np.ndarray, palette: Any) -> str:
    """An index PNG in which 0 is transparent, to be laid over the image."""
    picture = _fit(Image.fromarray(labels), Image.Resampling.NEAREST)
    picture.putpalette(bytes(value for colour in palette for value in colour))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=0)
    return _uri("png", buffer)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
