"""From the detector's queries to boxes worth cutting out: classes, geometry, duplicates.

The filters and their thresholds are ours: no code of dino-sam's paper (arXiv 2405.06586) is released, and its nearest
relatives with code filter less.

A filter tells which detections to drop. Where it goes by rank it takes the canonical order, so that no outcome depends
on the order of the detector's queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Boxes with a class and a score, one a row.

    Attributes:
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels of the original image.
        classes: int64 (n,) foreground indices.
        scores: float32 (n,) detector scores.
        query: int64 (n,) places in the detector's output (only the painting policy ``order`` looks at them).
        strong: bool (n,), whether the score alone entitles the box to paint.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    strong: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray) -> Detections:
        """The detections of an index array or a boolean mask."""
        return Detections(self.boxes[rows], self.classes[rows], self.scores[rows], self.query[rows], self.strong[rows])

    def order(self, value: np.ndarray | None = None) -> np.ndarray:
        """int64 (n,), the canonical order: highest value (default: score) first, equals by class and
        box."""
        x0, y0, x1, y1 = self.boxes.T
        return np.lexsort((y1, x1, y0, x0, self.classes, -(self.scores if value is None else value)))

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """The detections of several lists in one."""
        names = ("boxes", "classes", "scores", "query", "strong")
        return Detections(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def assign_classes(
    boxes: np.ndarray,
    scores: np.ndarray,
    class_scores: np.ndarray,
    classes: Sequence[int],
    box_thr: np.ndarray,
    shape: tuple[int, int],
) -> Detections:
    """Queries as detections, in canonical order.

    The class of a query is the one with the highest class score, the lower index among equals; its score is the
    maximum over all real tokens, and it is strong above its class's threshold. Boxes are clipped to the image.

    Args:
        boxes: (n, 4) x0 y0 x1 y1 in pixels.
        scores: (n,) detector scores.
        class_scores: (n, C) scores of the C classes asked for.
        classes: their C foreground indices, ascending.
        box_thr: float32 (K,) threshold of each foreground class.
        shape: height and width of the image.
    """
    height, width = shape
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    own = np.asarray(classes, np.int64)[class_scores.argmax(1)]
    found = Detections(clipped, own, scores.astype(np.float32), np.arange(len(scores)), scores > box_thr[own])
    return found[found.order()]


def area(boxes: np.ndarray) -> np.ndarray:
    """(n,) areas in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) areas that the boxes ``a`` (n, 4) and ``b`` (m, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clip(0).prod(2)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of the boxes ``a`` (n, 4) and ``b`` (m, 4); 0 for two empty boxes."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def lies_inside(boxes: np.ndarray, part: float) -> np.ndarray:
    """bool (n, n): whether at least ``part`` of box j's area lies in box i; no box lies inside itself."""
    own = area(boxes)
    share = np.divide(intersection(boxes, boxes), own[None], out=np.zeros((len(own),) * 2, np.float32), where=own > 0)
    inside: np.ndarray = share >= np.float32(part)
    np.fill_diagonal(inside, False)
    return inside


def too_small(d: Detections, shape: tuple[int, int], min_side: float, min_area: float) -> np.ndarray:
    """bool (n,): a side shorter than ``min_side`` pixels or an area below ``min_area`` of the image, which CLIP and SAM
    hardly resolve."""
    sides = d.boxes[:, 2:] - d.boxes[:, :2]
    narrow = sides.min(1)
    return (narrow <= 0) | (narrow < min_side) | (area(d.boxes) < min_area * shape[0] * shape[1])


def too_large(
    d: Detections, shape: tuple[int, int], max_cover: float, min_score: float, inside: float, *, even_alone: bool
) -> np.ndarray:
    """bool (n,): doubtful boxes round nearly the whole image.

    Where its phrase is absent a detector likes to answer with a very large box. A box covering more than ``max_cover``
    of the image with a score below ``min_score`` goes if a strong box of its class lies inside it, and ``even_alone``
    (label-free) in any case. The weakest are looked at first, and one that has gone is no reason for another to go.
    """
    doubtful = (area(d.boxes) > max_cover * shape[0] * shape[1]) & (d.scores < np.float32(min_score))
    if even_alone or not doubtful.any():
        return doubtful
    better = lies_inside(d.boxes, inside) & (d.classes[:, None] == d.classes) & d.strong
    alive = np.ones(len(d), bool)
    for i in d.order()[::-1]:
        alive[i] = not (doubtful[i] and (better[i] & alive).any())
    return ~alive


def duplicates(d: Detections, iou: float) -> np.ndarray:
    """bool (n,): boxes that overlap a better one of their class by more than ``iou`` (NMS per class)."""
    rivals = (box_iou(d.boxes, d.boxes) > np.float32(iou)) & (d.classes[:, None] == d.classes)
    return _suppressed(rivals, d.order())


def cross_class_duplicates(d: Detections, value: np.ndarray, iou: float) -> np.ndarray:
    """bool (n,): boxes on which a better one of another class lies by at least ``iou``: an object has one class.

    Args:
        d: detections.
        value: (n,) what makes a box better: detector score times crop probability.
        iou: two boxes of this IoU describe the same object.
    """
    rivals = (box_iou(d.boxes, d.boxes) >= np.float32(iou)) & (d.classes[:, None] != d.classes)
    return _suppressed(rivals, d.order(value))


def _suppressed(rivals: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Greedy suppression: in the given order, one that stays drops its rivals further down."""
    drop = np.zeros(len(order), bool)
    for rank, i in enumerate(order, 1):
        if not drop[i]:
            drop[order[rank:]] |= rivals[i, order[rank:]]
    return drop


def group_boxes(d: Detections, inside: float, cover: float) -> np.ndarray:
    """bool (n,): boxes round a crowd whose members have boxes of their own.

    A box goes if at least two other boxes of its class lie inside it, they cover together at least ``cover`` of its
    area, and one of them scores higher. Small boxes are judged first; one that has gone is no member any more. For a
    semantic map the members say all that the group box says, without the background between them.
    """
    members = lies_inside(d.boxes, inside) & (d.classes[:, None] == d.classes)
    drop = np.zeros(len(d), bool)
    for i in d.order(-area(d.boxes)):
        rows = members[i] & ~drop
        if rows.sum() >= 2 and d.scores[rows].max() > d.scores[i]:
            drop[i] = _union_area(d.boxes[rows], d.boxes[i]) >= cover * area(d.boxes[i : i + 1])[0]
    return drop


def _union_area(boxes: np.ndarray, frame: np.ndarray) -> float:
    """Area of the union of boxes within a frame, exact: summed over the cells between all their edges."""
    b = boxes.clip(frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float64)
    xs, ys = np.unique(b[:, ::2]), np.unique(b[:, 1::2])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for (i0, i1), (j0, j1) in zip(np.searchsorted(ys, b[:, 1::2]), np.searchsorted(xs, b[:, ::2]), strict=True):
        covered[i0:i1, j0:j1] = True
    return float(np.diff(ys) @ covered @ np.diff(xs))


def beyond_limit(d: Detections, limit: int, keep_best_of: Sequence[int] = ()) -> np.ndarray:
    """bool (n,): all but the ``limit`` best by detector score; the best box of each class in ``keep_best_of``
    stays in any case."""
    order = d.order()
    drop = np.zeros(len(d), bool)
    drop[order[limit:]] = True
    for c in keep_best_of:
        drop[order[d.classes[order] == c][:1]] = False
    return drop
