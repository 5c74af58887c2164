"""The figures of a report: sums over all images of a run, and what the page shows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...data.classes import IGNORE
from ...evaluation import metrics
from ...evaluation.confusion import confusion_matrix
from ..finished import FinishedRun
from ..manifest import Record
from .card import Card


def _counts() -> np.ndarray:
    return np.zeros(256, np.int64)


@dataclass
class Totals:
    """Sums over the images of a run.

    Attributes:
        joint: int64 (256, 256) pixels by ground truth and prediction.
        pixels: int64 (256,) pixels by label.
        doubt: float64 (256,) sum of 1 - confidence over the pixels of each label.
        images_with: int64 (256,) images by label.
        shares: float64 (256,) sum over the images of the share of each label.
        largest: float64 (256,) largest share of each label in an image.
        missed: int64 (256,) images that may have missed a class, by its label.
        boxes: number of boxes by class name, role, and why they do not paint.
        pairs: number of images by labels of two classes that compete in them.
        scores: scores of each class in the images with a mask of it, their sum and number by name.
        images: number of images.
        uncertainty: sum of their uncertainties.
        compared: number of images with ground truth.
    """

    joint: np.ndarray = field(default_factory=lambda: np.zeros((256, 256), np.int64))
    pixels: np.ndarray = field(default_factory=_counts)
    doubt: np.ndarray = field(default_factory=lambda: np.zeros(256))
    images_with: np.ndarray = field(default_factory=_counts)
    shares: np.ndarray = field(default_factory=lambda: np.zeros(256))
    largest: np.ndarray = field(default_factory=lambda: np.zeros(256))
    missed: np.ndarray = field(default_factory=_counts)
    boxes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    scores: dict[str, tuple[float, int]] = field(default_factory=dict)
    images: int = 0
    uncertainty: float = 0.0
    compared: int = 0

    def add(self, card: Card, record: Record, names: tuple[str, ...]) -> None:
        """Count an image."""
        self.images += 1
        self.uncertainty += card.uncertainty
        self.pixels += card.pixels
        self.doubt += card.doubt
        self.images_with += card.pixels > 0
        shares = card.pixels / card.pixels.sum()
        self.shares += shares
        self.largest = np.maximum(self.largest, shares)
        if card.joint is not None:
            self.joint += card.joint
            self.compared += 1
        for entry in card.missed:
            self.missed[entry.label] += 1
        self.boxes.update((box.cls, box.role, box.reason) for box in card.boxes)
        self.pairs.update(pair.labels for pair in card.rivals)
        for name, pixels in zip(names[1:], card.pixels[1:], strict=False):
            score = record.scores.get(name)
            if pixels and score is not None:
                total, images = self.scores.get(name, (0.0, 0))
                self.scores[name] = total + score, images + 1

    def figures(self, run: FinishedRun) -> Mapping[str, Any]:
        """Totals and classes, with the names of the template."""
        iou = metrics.iou(metrics.resolve_ignored(confusion_matrix(self.joint, len(run.names)), "background"))
        found = iou if self.joint.any() else np.full(len(run.names), np.nan)
        return {
            "images": self.images,
            "gaps": run.gaps,
            "uncertainty": self.uncertainty / self.images,
            "ignore": int(self.pixels[IGNORE]) / int(self.pixels.sum()),
            "compared": self.compared,
            "miou": float(metrics.mean(iou)) if self.joint.any() else None,
            "classes": [self._class(run, found, label) for label in range(len(run.names))],
            "pairs": [
                {"labels": list(labels), "images": images}
                for labels, images in sorted(self.pairs.items(), key=lambda pair: (-pair[1], pair[0]))
            ],
        }

    def _class(self, run: FinishedRun, iou: np.ndarray, label: int) -> Mapping[str, Any]:
        """A row of the table of classes, and its details."""
        name, pixels, images = run.names[label], int(self.pixels[label]), int(self.images_with[label])
        score, scored = self.scores.get(name, (0.0, 0))
        boxes = dict.fromkeys(("confident", "ambiguous", "dropped"), 0)
        reasons = Counter[str]()
        for (cls, role, reason), number in self.boxes.items():
            if cls == name and label:
                boxes[role] += number
                if role == "dropped":
                    reasons[reason] += number
        rivals = {sum(labels) - label: n for labels, n in self.pairs.items() if label in labels}
        return {
            "label": label,
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*run.palette[label]),
            "images": images,
            "share": pixels / int(self.pixels.sum()),
            "score": score / scored if scored else None,
            "uncertainty": float(self.doubt[label]) / pixels if pixels else None,
            "missed": int(self.missed[label]),
            "iou": None if np.isnan(iou[label]) else float(iou[label]),
            "mean_share": float(self.shares[label]) / images if images else None,
            "largest_share": float(self.largest[label]),
            "boxes": boxes,
            "reasons": sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0])),
            "rivals": sorted(rivals.items(), key=lambda entry: (-entry[1], entry[0])),
        }
