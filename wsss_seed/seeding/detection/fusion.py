"""Fusion of masks into one label map, with ignored pixels where the evidence is ambiguous.

The released code of Sun et al. (arXiv 2305.01586) paints masks in the order of the detector and ignores no pixels; this
is the order ``detector``. The other orders and the rules for ignored pixels are our own: results must not depend on the
order of the detector's queries, and a wrong label harms training more than an ignored pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.classes import IGNORE
from .settings import FusionSettings, IgnoreSettings

CONTAINED = 0.80
"""A mask lies on another mask if at least this share of its area does."""

_UNCERTAIN = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-1.0))  # probabilities at logits -1 and 1


@dataclass(frozen=True, eq=False)
class ScoredMask:
    """A mask within a window of the image, with class and score.

    Attributes:
        cls: foreground index.
        score: combined score.
        box: x0 y0 x1 y1 in pixels.
        x, y: upper left pixel of the window.
        mask: bool (h, w).
        probability: float16 (h, w), mask probability, also outside the mask.
        query: index in the detector's output, for the order ``detector``.
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
        """Row and column slices of the window."""
        h, w = self.mask.shape
        return slice(self.y, self.y + h), slice(self.x, self.x + w)

    @property
    def key(self) -> tuple[float, ...]:
        """Class and box, the tie-breaker of all orders."""
        return (self.cls, *self.box)

    @property
    def evidence(self) -> np.ndarray:
        """float32 (h, w), score times mask probability."""
        return np.float32(self.score) * self.probability.astype(np.float32)


def overlaps(instances: Sequence[ScoredMask]) -> np.ndarray:
    """int64 (n, n), pixels in the intersection of two masks; the diagonal has their areas."""
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


def duplicate_masks(instances: Sequence[ScoredMask], shared: np.ndarray, iou_threshold: float) -> list[bool]:
    """Which instances duplicate a better instance of another class, that is, reach the mask IoU threshold with it.

    Instances are processed by descending score, ties by key, and dropped instances do not suppress others. Instances of
    the same class may overlap, because their union is painted. ``shared`` are their ``overlaps``.
    """
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


def painting_order(instances: Sequence[ScoredMask], areas: Sequence[int], order: str) -> list[int]:
    """Indices of the instances in painting order; later ones are painted over earlier ones.

    ``area`` and ``area_score``: by descending area, so that small objects are painted over large ones (a bottle on a
    table), ties by ascending score, then by key. ``score``: by ascending score, then by key. ``detector``: in the order
    of the detector's output, which is arbitrary.

    Args:
        instances: the instances.
        areas: of their masks, in pixels.
        order: see above.
    """
    keys = {
        "area": lambda k: (-areas[k], instances[k].score, instances[k].key),
        "score": lambda k: (instances[k].score, instances[k].key),
        "detector": lambda k: (instances[k].query, instances[k].key),
    }
    return sorted(range(len(instances)), key=keys["area" if order == "area_score" else order])


def fuse(
    confident: Sequence[ScoredMask],
    ambiguous: Sequence[ScoredMask],
    shared: np.ndarray,
    shape: tuple[int, int],
    fusion: FusionSettings,
    ignore: IgnoreSettings,
    *,
    missing: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Label map and confidence map of an image.

    Confident instances are painted. Then these pixels are ignored: pixels covered only by ambiguous instances,
    contested pixels, uncertain pixels in a band along outlines, and, if a class known to be present has no mask, all
    uncovered pixels. All other pixels are background. The order ``detector`` ignores no pixels, like the reference.

    The confidence of a painted pixel is the score of its mask times the mask probability there; of a background pixel,
    1 minus the largest such product over all masks whose windows contain it; of an ignored pixel, 0.

    Args:
        confident: instances to paint, without duplicates.
        ambiguous: instances whose pixels are ignored unless painted by a confident one.
        shared: ``overlaps`` of the confident instances.
        shape: height and width of the image.
        fusion: see ``painting_order``. With ``area_score``, a smaller mask is painted over a higher-scoring mask of
            another class only if at least ``CONTAINED`` of it lies on that mask. With ``per_pixel``, the mask with the
            highest score times mask probability wins each pixel of an overlap.
        ignore: ``contest_margin`` (see ``contested``) and ``boundary``.
        missing: whether a class known to be present has no mask.

    Returns:
        Labels uint8 (H, W) with 0 background, 1..K foreground, 255 ignore label; confidence float32 (H, W) in 0..1.
    """
    order = painting_order(confident, shared.diagonal().tolist(), fusion.order)
    instances, shared = [confident[k] for k in order], shared[np.ix_(order, order)]
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
    """Pixels that two classes claim with similar scores.

    A pixel is contested between the best instance on it and the best instance of another class on it if their scores
    differ by less than ``margin``, unless at least ``CONTAINED`` of one mask lies on the other (a bottle on a table).

    Args:
        instances: the confident instances.
        shared: their ``overlaps``.
        shape: height and width of the image.
        margin: difference of scores.

    Returns:
        bool (H, W), or None if no two instances compete.
    """
    n = len(instances)
    classes, scores = np.array([i.cls for i in instances], int), np.array([i.score for i in instances], np.float32)
    area = np.diagonal(shared)
    rivals = np.zeros((n + 1, n + 1), bool)  # the last row and column stand for "no instance"
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
    """Pixels within ``width`` steps (4-connected) of the outline, on both sides of it."""
    import cv2  # slow to import, and not needed by default

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside, outside = (cv2.dilate(m.astype(np.uint8), cross, iterations=width) for m in (mask, ~mask))
    result: np.ndarray = inside.astype(bool) & outside.astype(bool)
    return result
