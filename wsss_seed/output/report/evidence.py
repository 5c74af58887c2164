"""What is known about an image besides its mask: boxes, what CLIP saw, and classes that the mask may have missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..manifest import Record

SEEN = 0.2
"""CLIP's score from which a class without a mask may have been missed. Ours: of 90 such classes in 80 label-free masks
of toyland (val, hard, with the miniatures), 26 are in the ground truth, and 97 in all are missed; in 120 masks of
standard images, 5 of 42, and 14 in all."""


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
    """

    cls: str
    box: tuple[float, float, float, float]
    score: float
    crop: float | None
    final: float
    role: Literal["confident", "ambiguous", "dropped"]
    why: str


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
    record: Record, clip: Mapping[str, float], names: Sequence[str], pixels: np.ndarray, truth: np.ndarray | None
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
