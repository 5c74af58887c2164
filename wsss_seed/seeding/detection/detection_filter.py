"""Filters that decide which detections contribute to the seed; each takes and returns ``Detections``.

Detectors return duplicates, boxes around groups or around nearly the whole image, and boxes of absent classes, all of
which would paint wrong pixels. The filters are our own unless a docstring names a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .detections import Detections, Reason, Role, area, box_iou, lies_inside
from .settings import BoxSettings

INSIDE = 0.90
"""A box lies inside another box if at least this share of its area does."""

GROUP_COVERAGE = 0.80
"""Smallest share of a group box that the boxes inside it cover together."""


def drop_small(d: Detections, shape: tuple[int, int], settings: BoxSettings) -> Detections:
    """Drop boxes with a side shorter than ``min_side`` pixels or an area below ``min_area`` of the image (H, W)."""
    return d.drop(Reason.TOO_SMALL, lambda d: too_small(d, shape, settings))


def drop_large(d: Detections, shape: tuple[int, int], settings: BoxSettings, *, label_free: bool) -> Detections:
    """Drop doubtful boxes around nearly the whole image.

    For absent phrases, detectors tend to return a very large box. A box that covers more than ``max_area`` of the image
    with a score below ``large_threshold`` is dropped if a confident box of its class lies inside it; without labels it
    is always dropped. Boxes are checked from the lowest score up, and a dropped box does not count against others.
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
    """Non-maximum suppression: drop boxes whose IoU with a better box of their class exceeds the threshold."""

    def rule(d: Detections) -> np.ndarray:
        rivals = (box_iou(d.boxes, d.boxes) > np.float32(iou_threshold)) & (d.classes[:, None] == d.classes)
        return _suppressed(rivals, d.order())

    return d.drop(Reason.NMS, rule)


def drop_group_boxes(d: Detections) -> Detections:
    """Drop boxes around a group whose members have boxes of their own.

    A box is dropped if at least two other boxes of its class lie inside it, together cover at least ``GROUP_COVERAGE``
    of its area, and one of them scores higher. Boxes are checked from small to large, and dropped boxes do not count as
    members. In a label map the members replace the group box, without the background between them.
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


def drop_distractors(d: Detections, classes: int, iou_threshold: float) -> Detections:
    """Remove boxes of distractors, whose class indices start at ``classes``, and drop lower-scoring boxes of classes
    on the same object (IoU at least ``iou_threshold``)."""
    distractor = d.classes >= classes
    if not distractor.any():
        return d
    others = d[distractor]
    d = d[~distractor]
    same: np.ndarray = box_iou(d.boxes, others.boxes) >= np.float32(iou_threshold)
    better = np.asarray((same & (others.scores > d.scores[:, None])).any(1))
    return d.with_reason(better, Reason.DISTRACTOR)


def add_rescued(d: Detections, found: Detections, missing: Sequence[int], threshold: float, iou: float) -> Detections:
    """Add the best box of each given class without a confident box, if its score is at least ``threshold``.

    The added box becomes confident and replaces boxes of its class whose IoU with it is above ``iou``.

    Args:
        d: the detections so far.
        found: detections of the missing classes, in canonical order.
        missing: given classes without a confident box.
        threshold: lowest score of a rescued box.
        iou: IoU threshold of NMS.
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
    certain = np.ones(len(new), bool)
    return Detections.concatenate([d, replace(new, confident=certain, rescued=certain)])


def cross_class_nms(d: Detections, iou_threshold: float, given: Sequence[int] = ()) -> Detections:
    """Drop the weaker of two boxes of different classes whose IoU reaches the threshold, as an object has one class.

    Boxes are ranked by ``Detections.class_score``. If all boxes of a given class would
    be dropped, its best box is kept but demoted.
    """
    value, before = d.class_score, d.kept

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
    """Keep the ``max_detections`` best boxes by detector score, and the best box of each given class."""

    def rule(d: Detections) -> np.ndarray:
        order = d.order()
        drop = np.zeros(len(d), bool)
        drop[order[max_detections:]] = True
        for c in given:
            drop[order[d.classes[order] == c][:1]] = False
        return drop

    return d.drop(Reason.MAX_DETECTIONS, rule)


def present_classes(d: Detections) -> tuple[int, ...]:
    """The classes of an image without given labels, ascending: those with a confident box that was kept."""
    return tuple(sorted(set(d.classes[d.kept & d.confident].tolist())))


def keep_fallback(d: Detections, threshold: float) -> Detections:
    """The fallback if no confident box was kept: keep only the box with the best combined score and make it confident.

    Boxes that CLIP rejected are eligible, but the detector score must reach the threshold. Without the fallback, the
    image would become all background and teach a segmenter that its objects are background.
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
    *,
    assume_present: bool = True,
) -> Detections:
    """Decide which detections paint their class and which only make pixels ambiguous.

    Confident: kept boxes that are confident by their detector scores, not demoted, and reach the threshold of their
    class with their combined scores; and rescued boxes, because their class is known to be present and has no better
    one. Ambiguous: other kept boxes whose combined scores reach the ambiguous threshold. A given class, or an image
    that shows at least one of the classes, keeps at least its best box as ambiguous: verification may lower the score
    of a class that is known to be present, but not remove it.

    Args:
        d: the detections.
        confident_threshold, ambiguous_threshold: (K,) thresholds of the combined score.
        score_floor: (K,) lowest detector score of an ambiguous box that is not confident.
        given: the given classes; None if labels are not given.
        assume_present: whether an image without given labels is known to show at least one of the classes.
    """
    classes, kept = d.classes, d.kept
    known = [kept & (classes == c) for c in given] if given is not None else [kept] * assume_present
    high = kept & d.confident & ~d.demoted & (d.rescued | (d.combined >= confident_threshold[classes]))
    low = (
        kept & ~high & (d.combined >= ambiguous_threshold[classes]) & (d.confident | (d.scores >= score_floor[classes]))
    )
    for own in known:
        if own.any() and not (own & (high | low)).any():
            low[d.best(own)] = True
    role = np.where(high, Role.CONFIDENT, np.where(low, Role.AMBIGUOUS, Role.DROPPED)).astype(np.int8)
    return replace(d.with_reason(kept & ~high & ~low, Reason.LOW_SCORE), role=role)


def too_small(d: Detections, shape: tuple[int, int], settings: BoxSettings) -> np.ndarray:
    """bool (n,), the boxes that ``drop_small`` drops; empty boxes are always too small."""
    narrow = (d.boxes[:, 2:] - d.boxes[:, :2]).min(1)
    result: np.ndarray = (
        (narrow <= 0) | (narrow < settings.min_side) | (area(d.boxes) < settings.min_area * shape[0] * shape[1])
    )
    return result


def _suppressed(rivals: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Greedy suppression: in the given order, each remaining detection drops its later rivals. Returns bool (n,)."""
    drop = np.zeros(len(order), bool)
    for rank, i in enumerate(order, 1):
        if not drop[i]:
            drop[order[rank:]] |= rivals[i, order[rank:]]
    return drop


def _union_area(boxes: np.ndarray, frame: np.ndarray) -> float:
    """Exact area of the union of boxes within a frame, summed over the grid cells between their edges."""
    b = boxes.clip(frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float64)
    xs, ys = np.unique(b[:, ::2]), np.unique(b[:, 1::2])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for (i0, i1), (j0, j1) in zip(np.searchsorted(ys, b[:, 1::2]), np.searchsorted(xs, b[:, ::2]), strict=True):
        covered[i0:i1, j0:j1] = True
    return float(np.diff(ys) @ covered @ np.diff(xs))
