"""What is known about an image besides its mask: boxes, what CLIP saw, classes that the mask may have missed, and
classes that compete for the same place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...data.classes import IGNORE
from ..manifest import Outline, Record

SEEN = 0.2
"""CLIP's score from which a class without a mask may have been missed. Ours: of 90 such classes in 80 label-free masks
of toyland (val, hard, with the miniatures), 26 are in the ground truth, and 97 in all are missed; in 120 masks of
standard images, 5 of 42, and 14 in all."""

SAME_PLACE = 0.5
"""IoU of two boxes from which they are about the same object, as for the boxes of VOC's benchmark."""

CLOSE = 0.5
"""Ratio of two scores from which both boxes have a claim. Ours; see ``rivals``."""


@dataclass(frozen=True)
class Box:
    """A box that the detector found.

    Attributes:
        cls: name of its class.
        box: x0 y0 x1 y1 in pixels of the image.
        score: of the detector.
        crop: CLIP's probability of the class on the crop; None if not verified.
        final: combined score.
        role: what it contributes to the mask.
        why: what decided about it, in words.
        reason: the same without its figures, so that boxes can be counted by it; empty if it paints.
    """

    cls: str
    box: tuple[float, float, float, float]
    score: float
    crop: float | None
    final: float
    role: Literal["confident", "ambiguous", "dropped"]
    why: str
    reason: str = ""


@dataclass(frozen=True)
class Evidence:
    """What is known about an image besides its mask.

    Attributes:
        boxes: the boxes, best first.
        clip: CLIP's score of each class in the image by name; empty if CLIP was not asked.
        note: why the evidence cannot be read; empty otherwise.
    """

    boxes: tuple[Box, ...] = ()
    clip: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


EvidenceOf = Callable[[Record], Evidence]
"""Returns the evidence in a record."""


def no_evidence(record: Record) -> Evidence:
    """The evidence of a run without any, for instance that of ``predict``."""
    return Evidence()


@dataclass(frozen=True)
class Missed:
    """A class without a pixel in the mask, although it may be in the image.

    Attributes:
        label: of the class.
        source: where the class comes from: ground truth, the given image-level labels, a box that counted, or CLIP.
        score: 0..1, how much suggests that it is there; 1 for ground truth and given labels.
    """

    label: int
    source: Literal["truth", "given", "box", "clip"]
    score: float


def missed(
    record: Outline, clip: Mapping[str, float], names: Sequence[str], pixels: np.ndarray, truth: np.ndarray | None
) -> tuple[Missed, ...]:
    """The classes that a mask may have missed, those with most evidence first.

    The best source decides alone: ground truth, else the given labels, else the classes with a box that counted and
    those that CLIP sees.

    Args:
        record: of the image.
        clip: CLIP's score of each class by name.
        names: names by label, background first.
        pixels: int (256,) pixels of the mask by label.
        truth: int (256,) pixels of the ground truth by label; None without any.
    """
    absent = [label for label in range(1, len(names)) if not pixels[label]]
    if truth is not None:
        return tuple(Missed(label, "truth", 1.0) for label in absent if truth[label])
    if record.labels is not None:
        return tuple(Missed(label, "given", 1.0) for label in absent if names[label] in record.labels)
    found = []
    for label in absent:
        seen = clip.get(names[label], 0.0)
        if seen >= SEEN or names[label] in record.present:
            score = max(seen, record.scores.get(names[label]) or 0.0)
            found.append(Missed(label, "clip" if seen >= SEEN else "box", min(1.0, max(0.0, score))))
    return tuple(sorted(found, key=lambda m: (-m.score, m.label)))


@dataclass(frozen=True)
class Rivals:
    """Two classes that compete for the same place in an image.

    Attributes:
        labels: of the classes, in ascending order.
        iou: of the two boxes that compete most.
        scores: combined scores of these boxes, in the order of ``labels``.
        undecided: share of ignored pixels where both boxes lie.
    """

    labels: tuple[int, int]
    iou: float
    scores: tuple[float, float]
    undecided: float

    @property
    def strength(self) -> float:
        """0..1, the IoU of the boxes times the ratio of their scores."""
        return self.iou * min(self.scores) / max(self.scores)


def rivals(boxes: Sequence[Box], names: Sequence[str], labels: np.ndarray) -> tuple[Rivals, ...]:
    """The pairs of classes that compete for the same place, the closest first.

    Two classes compete if a box of each has the other's place (IoU of at least 0.5), the lower combined score is at
    least half of the higher one, and not both boxes were dropped. Ours. The combined score includes what CLIP says of
    the crop, so a box that CLIP clearly rejects does not compete. CLIP's scores of the whole image do not count: they
    are just as close where both classes are there, side by side. Of 80 label-free masks of toyland (val, hard, with the
    miniatures) 4 have such a pair, 2 of them with one class where the other is; they have 24 % of wrong pixels, the
    others 13 %.

    Args:
        boxes: of the image.
        names: names by label, background first.
        labels: uint8 (H, W) label map.
    """
    known = {name: label for label, name in enumerate(names)}
    claims = [(known[box.cls], box) for box in boxes if box.cls in known and box.final > 0]
    best: dict[tuple[int, int], Rivals] = {}
    for i, (first, one) in enumerate(claims):
        for second, other in claims[i + 1 :]:
            if first == second or one.role == other.role == "dropped":
                continue
            iou = _iou(one.box, other.box)
            if iou < SAME_PLACE or min(one.final, other.final) < CLOSE * max(one.final, other.final):
                continue
            (low, a), (high, b) = sorted([(first, one), (second, other)], key=lambda claim: claim[0])
            found = Rivals((low, high), iou, (a.final, b.final), _undecided(a.box, b.box, labels))
            former = best.get(found.labels)
            if former is None or found.strength > former.strength:
                best[found.labels] = found
    return tuple(sorted(best.values(), key=lambda pair: (-pair.strength, pair.labels)))


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    x0, y0, x1, y1 = _overlap(a, b)
    both = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float, float, float]:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _undecided(a: tuple[float, ...], b: tuple[float, ...], labels: np.ndarray) -> float:
    height, width = labels.shape
    x0, y0, x1, y1 = (round(min(max(value, 0), 1e6)) for value in _overlap(a, b))
    part = labels[min(y0, height) : y1, min(x0, width) : x1]
    return float((part == IGNORE).mean()) if part.size else 0.0
