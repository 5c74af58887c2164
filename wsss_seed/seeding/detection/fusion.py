"""Fusion of many masks into one label map, with ignored pixels where the evidence is ambiguous.

The released code of Sun et al. (arXiv 2305.01586) paints masks in the detector's order and ignores no pixels: the order
``detector``. The other orders and the rules for ignored pixels are ours: the outcome must not depend on the order of
the detector's queries, and a wrong label harms training more than an ignored pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.classes import IGNORE
from .settings import FusionSettings, IgnoreSettings

CONTAINED = 0.80
"""Share of a mask from which it counts as lying on another one."""

_UNCERTAIN = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-1.0))  # probabilities of the logits -1 and 1


@dataclass(frozen=True, eq=False)
class ScoredMask:
    """A mask on a window of the image, with a class and a score.

    Attributes:
        cls: foreground index.
        score: combined score s'.
        box: x0 y0 x1 y1 in pixels.
        x, y: upper left pixel of the window.
        mask: bool (h, w).
        probability: float16 (h, w), SAM's probability, also outside the mask.
        query: place in the detector's output, for the order ``detector``.
    """

    cls: int
    score: float
    box: tuple[float, float, float, float]
    x: int
    y: int
    mask: np.ndarray
    probability: np.ndarray
    query: int = 0

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the window."""
        h, w = self.mask.shape
        return slice(self.y, self.y + h), slice(self.x, self.x + w)

    @property
    def key(self) -> tuple[float, ...]:
        """Class and box: what makes every order of instances definite."""
        return (self.cls, *self.box)

    @property
    def evidence(self) -> np.ndarray:
        """float32 (h, w): score times SAM's probability."""
        return np.float32(self.score) * self.probability.astype(np.float32)


def overlaps(instances: Sequence[ScoredMask]) -> np.ndarray:
    """int64 (n, n): pixels that two masks share; the diagonal has the areas."""
    n = len(instances)
    shared = np.zeros((n, n), np.int64)
    for i, a in enumerate(instances):
        shared[i, i] = np.count_nonzero(a.mask)
        for j, b in enumerate(instances[:i]):
            y0, y1 = max(a.y, b.y), min(a.window[0].stop, b.window[0].stop)
            x0, x1 = max(a.x, b.x), min(a.window[1].stop, b.window[1].stop)
            if y0 < y1 and x0 < x1:
                in_a = a.mask[y0 - a.y : y1 - a.y, x0 - a.x : x1 - a.x]
                in_b = b.mask[y0 - b.y : y1 - b.y, x0 - b.x : x1 - b.x]
                shared[i, j] = shared[j, i] = np.count_nonzero(in_a & in_b)
    return shared


def duplicate_masks(instances: Sequence[ScoredMask], iou_threshold: float) -> list[bool]:
    """Which instances describe an object that a better instance gives another class.

    That is, their mask IoU reaches the threshold. Best score first, equals in the order of their keys; a dropped
    instance drops no other. Instances of one class may overlap: their union is painted.
    """
    shared = overlaps(instances)
    drop = [False] * len(instances)
    kept: list[int] = []
    for i in sorted(range(len(instances)), key=lambda i: (-instances[i].score, instances[i].key)):
        drop[i] = any(
            instances[i].cls != instances[j].cls
            and shared[i, j] >= iou_threshold * (shared[i, i] + shared[j, j] - shared[i, j])
            and shared[i, j]
            for j in kept
        )
        if not drop[i]:
            kept.append(i)
    return drop


def painting_order(instances: Sequence[ScoredMask], order: str) -> list[ScoredMask]:
    """The instances as they are painted, later over earlier.

    ``area`` and ``area_score``: largest first, so that small objects end on large ones (bottle on table, rider on
    horse); equals by rising score, then by key. ``score``: by rising score, then by key. ``detector``: in the
    detector's order, which is arbitrary.
    """
    keys = {
        "area": lambda i: (-np.count_nonzero(i.mask), i.score, i.key),
        "score": lambda i: (i.score, i.key),
        "detector": lambda i: (i.query, i.key),
    }
    return sorted(instances, key=keys["area" if order == "area_score" else order])


def fuse(
    confident: Sequence[ScoredMask],
    ambiguous: Sequence[ScoredMask],
    shape: tuple[int, int],
    fusion: FusionSettings,
    ignore: IgnoreSettings,
    *,
    missing: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Label map and confidence map of an image.

    Confident instances are painted. Ignored are then: pixels that only ambiguous instances cover, contested pixels, all
    uncovered pixels where a class known to be present has no mask, and a band of uncertain pixels along the outlines.
    All others are background. The order ``detector`` is the bare reference, without ignored pixels.

    The confidence of a painted pixel is the score of the mask that painted it times SAM's probability there; of a
    background pixel 1 minus the largest such product of any mask whose window has the pixel; of an ignored pixel 0.

    Args:
        confident: instances that are painted, duplicates removed.
        ambiguous: instances whose pixels are ignored where nothing is painted.
        shape: height and width of the image.
        fusion: see ``painting_order``. With ``area_score`` a smaller mask is not painted over one of another class that
            scores higher unless at least ``CONTAINED`` of it lies on that mask. With ``per_pixel`` score times SAM's
            probability decides each pixel that masks share.
        ignore: ``contest_margin`` (see ``contested``) and ``boundary``.
        missing: whether a class known to be present has no mask.

    Returns:
        labels uint8 (H, W) with 0 background, 1..K, 255 ignore; confidence float32 (H, W) in 0..1.
    """
    instances = painting_order(confident, fusion.order)
    shared = overlaps(instances)
    labels = np.zeros(shape, np.uint8)
    owner = np.full(shape, -1, np.int16)
    value = np.zeros(shape, np.float32)
    uncertain = np.zeros(shape, bool) if ignore.boundary else None
    classes = np.array([i.cls for i in instances] + [-1])

    for k, instance in enumerate(instances):
        below = owner[instance.window]
        yields = np.zeros(below.shape, bool)
        if fusion.per_pixel:
            yields = (below >= 0) & (instance.evidence < value[instance.window])
        elif fusion.order == "area_score":
            stronger = [
                j
                for j, other in enumerate(instances[:k])
                if other.cls != instance.cls
                and other.score > instance.score
                and shared[k, j] < CONTAINED * shared[k, k]
            ]
            yields = np.isin(below, stronger)
        wins = instance.mask & ~yields
        if uncertain is not None:
            band = _outline(instance.mask, ignore.boundary) & _is_uncertain(instance.probability)
            uncertain[instance.window][wins] = False
            uncertain[instance.window][band & ~yields & (classes[below] != instance.cls)] = True
        below[wins] = k
        labels[instance.window][wins] = instance.cls + 1
        np.copyto(value[instance.window], instance.evidence, where=wins)

    free = owner < 0
    for instance in (*confident, *ambiguous):
        there = value[instance.window]
        np.maximum(there, instance.evidence, out=there, where=free[instance.window])
    np.subtract(1, value, out=value, where=free)

    if fusion.order != "detector":
        for instance in ambiguous:
            labels[instance.window][instance.mask & free[instance.window]] = IGNORE
        doubt = contested(instances, shared, shape, ignore.contest_margin)
        if doubt is not None:
            labels[doubt] = IGNORE
        if uncertain is not None:
            labels[uncertain] = IGNORE
        if missing:
            labels[free] = IGNORE
    value[labels == IGNORE] = 0
    return labels, value.clip(0, 1, out=value)


def contested(
    instances: Sequence[ScoredMask], shared: np.ndarray, shape: tuple[int, int], margin: float
) -> np.ndarray | None:
    """Pixels on which two classes have an equal claim.

    Of the instances on a pixel, the best one and the best one of another class contest it if their scores differ by
    less than ``margin`` and neither mask has at least ``CONTAINED`` of the other on it (a bottle on a table is no
    contest).

    Args:
        instances: the confident ones.
        shared: their overlaps.
        shape: height and width of the image.

    Returns:
        bool (H, W), or None where there is no such pair.
    """
    n = len(instances)
    classes, scores = np.array([i.cls for i in instances], int), np.array([i.score for i in instances], np.float32)
    area = np.diagonal(shared)
    rivals = np.zeros((n + 1, n + 1), bool)  # the last row and column stand for "nothing there"
    rivals[:n, :n] = (
        (classes[:, None] != classes)
        & (np.abs(scores[:, None] - scores) < np.float32(margin))
        & (shared > 0)
        & (shared < CONTAINED * np.minimum(area[:, None], area))
    )
    if not rivals.any():
        return None
    first, second = np.full(shape, -1, np.int16), np.full(shape, -1, np.int16)
    classes = np.append(classes, -1)
    for k in sorted(range(n), key=lambda k: (-instances[k].score, instances[k].key), reverse=True):
        window, mask = instances[k].window, instances[k].mask
        best = first[window]
        overtaken = mask & (classes[best] != instances[k].cls)
        second[window][overtaken] = best[overtaken]
        best[mask] = k
    doubt: np.ndarray = second >= 0
    doubt[doubt] = rivals[first[doubt], second[doubt]]
    return doubt


def _is_uncertain(probability: np.ndarray) -> np.ndarray:
    """Where SAM's logit lies between -1 and 1."""
    result: np.ndarray = (probability > _UNCERTAIN[0]) & (probability < _UNCERTAIN[1])
    return result


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels within ``width`` steps (up, down, left, right) of the outline, on both sides of it."""
    import cv2  # here, since it takes long to import and the default has no boundary

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside, outside = (cv2.dilate(m.astype(np.uint8), cross, iterations=width) for m in (mask, ~mask))
    result: np.ndarray = inside.astype(bool) & outside.astype(bool)
    return result
