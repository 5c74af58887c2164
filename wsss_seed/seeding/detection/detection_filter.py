"""The steps that decide which detections contribute to the seed, each from detections to detections.

All of them are ours unless a docstring names a source: detectors answer with duplicates, boxes around crowds or around
nearly the whole image, and boxes of absent classes, each of which would paint wrong pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .detections import Detections, Reason, Role, area, box_iou, lies_inside
from .settings import BoxSettings

INSIDE = 0.90
"""Share of a box's area from which it lies inside another box."""

GROUP_COVERAGE = 0.80
"""Share of a group box's area that the boxes inside it cover."""


def drop_small(d: Detections, shape: tuple[int, int], settings: BoxSettings) -> Detections:
    """Without boxes that have a side shorter than ``min_side`` pixels or less than ``min_area`` of the image (H, W)."""
    return d.drop(Reason.TOO_SMALL, lambda d: too_small(d, shape, settings))


def drop_large(d: Detections, shape: tuple[int, int], settings: BoxSettings, *, label_free: bool) -> Detections:
    """Without doubtful boxes around nearly the whole image.

    Where its phrase is absent a detector tends to answer with a very large box. A box that covers more than
    ``max_area`` of the image with a score below ``large_threshold`` is dropped if a confident box of its class lies
    inside it, and label-free in any case. The weakest are judged first, and one that is dropped is no reason to drop
    another.
    """

    def rule(d: Detections) -> np.ndarray:
        doubtful = (area(d.boxes) > settings.max_area * shape[0] * shape[1]) & (
            d.scores < np.float32(settings.large_threshold)
        )
        if label_free or not doubtful.any():
            return doubtful
        better = lies_inside(d.boxes, INSIDE) & (d.classes[:, None] == d.classes) & d.confident
        kept = np.ones(len(d), bool)
        for i in d.order()[::-1]:
            kept[i] = not (doubtful[i] and (better[i] & kept).any())
        return ~kept

    return d.drop(Reason.TOO_LARGE, rule)


def nms(d: Detections, iou_threshold: float) -> Detections:
    """Without boxes that overlap a better one of their class by more than the IoU (non-maximum suppression)."""

    def rule(d: Detections) -> np.ndarray:
        rivals = (box_iou(d.boxes, d.boxes) > np.float32(iou_threshold)) & (d.classes[:, None] == d.classes)
        return _suppressed(rivals, d.order())

    return d.drop(Reason.NMS, rule)


def drop_group_boxes(d: Detections) -> Detections:
    """Without boxes around a crowd whose members have boxes of their own.

    A box is dropped if at least two other boxes of its class lie inside it, they cover together at least
    ``GROUP_COVERAGE`` of its area, and one of them scores higher. Small boxes are judged first; one that is dropped is
    no member any more. For a semantic map the members say all that the group box says, without the background between
    them.
    """

    def rule(d: Detections) -> np.ndarray:
        members = lies_inside(d.boxes, INSIDE) & (d.classes[:, None] == d.classes)
        drop = np.zeros(len(d), bool)
        for i in d.order(-area(d.boxes)):
            rows = members[i] & ~drop
            if rows.sum() >= 2 and d.scores[rows].max() > d.scores[i]:
                drop[i] = _union_area(d.boxes[rows], d.boxes[i]) >= GROUP_COVERAGE * area(d.boxes[i : i + 1])[0]
        return drop

    return d.drop(Reason.GROUP_BOX, rule)


def add_rescued(d: Detections, found: Detections, missing: Sequence[int], threshold: float, iou: float) -> Detections:
    """With the best box of each given class that has no confident one, if it scores at least ``threshold``.

    It is confident from now on and takes the place of the boxes of its class that it overlaps by more than ``iou``.

    Args:
        d: the detections so far.
        found: what was found for the missing classes, in canonical order.
        missing: the given classes without a confident box.
        threshold: lowest score of a rescued box.
        iou: of NMS.
    """
    rescued = []
    for c in missing:
        best = np.flatnonzero((found.classes == c) & (found.scores >= np.float32(threshold)))[:1]
        if len(best):
            box = found.boxes[best]
            rescued.append(found[best])
            overlapped = d.kept & (d.classes == c) & (box_iou(d.boxes, box)[:, 0] > np.float32(iou))
            d = d.with_reason(overlapped, Reason.NMS)
    if not rescued:
        return d
    new = Detections.concatenate(rescued)
    return Detections.concatenate([d, replace(new, confident=np.ones(len(new), bool))])


def cross_class_nms(d: Detections, iou_threshold: float, given: Sequence[int] = ()) -> Detections:
    """Of boxes of different classes with at least this IoU only the one with the higher detector score times crop
    probability (1 where not verified): an object has one class.

    A given class whose last box would be dropped keeps its best one, demoted.
    """
    value = d.scores * np.where(np.isnan(d.crop_probs), np.float32(1), d.crop_probs)
    before = d.kept

    def rule(d: Detections) -> np.ndarray:
        rivals = (box_iou(d.boxes, d.boxes) >= np.float32(iou_threshold)) & (d.classes[:, None] != d.classes)
        return _suppressed(rivals, d.order(value[before]))

    after = d.drop(Reason.CROSS_CLASS_NMS, rule)
    for c in given:
        own = d.classes == c
        if (before & own).any() and not (after.kept & own).any():
            last = d.best(before & own, value)
            demoted = after.demoted.copy()
            demoted[last] = True
            after = replace(after.with_reason(last, Reason.NONE), demoted=demoted)
    return after


def limit_detections(d: Detections, max_detections: int, given: Sequence[int] = ()) -> Detections:
    """Only the best by detector score, and the best box of each given class."""

    def rule(d: Detections) -> np.ndarray:
        order = d.order()
        drop = np.zeros(len(d), bool)
        drop[order[max_detections:]] = True
        for c in given:
            drop[order[d.classes[order] == c][:1]] = False
        return drop

    return d.drop(Reason.MAX_DETECTIONS, rule)


def present_classes(d: Detections) -> tuple[int, ...]:
    """The classes of an image whose labels are not given, ascending: those that own a confident box which survived."""
    return tuple(sorted(set(d.classes[d.kept & d.confident].tolist())))


def keep_fallback(d: Detections, threshold: float) -> Detections:
    """Where no confident box survived, only the box with the best combined score, one that CLIP rejected included,
    provided that its detector score reaches the threshold; it is confident from now on.

    An image must not become all background for want of a box, which would teach a segmenter that its objects are
    background.
    """
    usable = (d.kept | (d.reason == Reason.REJECTED)) & (d.scores >= np.float32(threshold))
    dropped = d.with_reason(d.kept, Reason.NO_SURVIVOR)
    if not usable.any():
        return dropped
    last = d.best(usable)
    confident = d.confident.copy()
    confident[last] = True
    return replace(dropped.with_reason(last, Reason.NONE), confident=confident)


def assign_roles(
    d: Detections,
    confident_threshold: np.ndarray,
    ambiguous_threshold: np.ndarray,
    score_floor: np.ndarray,
    given: Sequence[int] | None,
) -> Detections:
    """Decide which detections paint and which only make pixels ambiguous.

    Confident: kept, confident by the detector's score, not demoted, and with a combined score that reaches its class's
    threshold. Ambiguous: the others whose combined score reaches the ambiguous threshold. A given class keeps at least
    its best box, and so does an image without given classes: verification may re-weight what is known to be there but
    not take it away.

    Args:
        d: the detections.
        confident_threshold, ambiguous_threshold: (K,) thresholds of the combined score.
        score_floor: (K,) detector score below which a box that is not confident counts for nothing.
        given: the given classes; None where labels are not given.
    """
    classes, kept = d.classes, d.kept
    high = kept & d.confident & ~d.demoted & (d.combined >= confident_threshold[classes])
    low = (
        kept & ~high & (d.combined >= ambiguous_threshold[classes]) & (d.confident | (d.scores >= score_floor[classes]))
    )
    for own in [kept] if given is None else [kept & (classes == c) for c in given]:
        if own.any() and not (own & (high | low)).any():
            low[d.best(own)] = True
    role = np.where(high, Role.CONFIDENT, np.where(low, Role.AMBIGUOUS, Role.DROPPED)).astype(np.int8)
    return replace(d.with_reason(kept & ~high & ~low, Reason.LOW_SCORE), role=role)


def too_small(d: Detections, shape: tuple[int, int], settings: BoxSettings) -> np.ndarray:
    """bool (n,): see ``drop_small``; a box without area is always too small."""
    narrow = (d.boxes[:, 2:] - d.boxes[:, :2]).min(1)
    result: np.ndarray = (
        (narrow <= 0) | (narrow < settings.min_side) | (area(d.boxes) < settings.min_area * shape[0] * shape[1])
    )
    return result


def _suppressed(rivals: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Greedy suppression: in the given order, one that stays drops its rivals further down."""
    drop = np.zeros(len(order), bool)
    for rank, i in enumerate(order, 1):
        if not drop[i]:
            drop[order[rank:]] |= rivals[i, order[rank:]]
    return drop


def _union_area(boxes: np.ndarray, frame: np.ndarray) -> float:
    """Area of the union of boxes within a frame, exact: summed over the cells between all their edges."""
    b = boxes.clip(frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float64)
    xs, ys = np.unique(b[:, ::2]), np.unique(b[:, 1::2])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for (i0, i1), (j0, j1) in zip(np.searchsorted(ys, b[:, 1::2]), np.searchsorted(xs, b[:, ::2]), strict=True):
        covered[i0:i1, j0:j1] = True
    return float(np.diff(ys) @ covered @ np.diff(xs))
