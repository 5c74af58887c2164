"""Detections: boxes with classes, scores, and the decisions of the filters. They are immutable.

All rankings use the canonical order, so that results do not depend on the order of the detector's queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np

Rows = np.ndarray | list[int] | int


class Role(IntEnum):
    """The contribution of a detection to the seed."""

    UNDECIDED = 0
    CONFIDENT = 1
    """It paints its class."""
    AMBIGUOUS = 2
    """Its pixels are ignored unless another mask paints them."""
    DROPPED = 3


class Reason(IntEnum):
    """Why a detection was dropped or does not paint its class."""

    NONE = 0
    TOO_SMALL = 1
    TOO_LARGE = 2
    NMS = 3
    GROUP_BOX = 4
    REJECTED = 5
    """CLIP classifies the crop differently."""
    CROSS_CLASS_NMS = 6
    MAX_DETECTIONS = 7
    NO_SURVIVOR = 8
    """No confident box was left, and another box was kept as the fallback."""
    LOW_SCORE = 9
    INVALID_MASK = 10
    DUPLICATE_MASK = 11
    DISTRACTOR = 12
    """The detector prefers the phrase of a distractor for this object."""

    @property
    def text(self) -> str:
        """The name used in the evidence; empty for ``NONE``."""
        return "" if self is Reason.NONE else self.name.lower()


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image; all arrays have n rows.

    Attributes:
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels of the original image.
        classes: int64 (n,) foreground indices.
        scores: float32 (n,) detector scores.
        query: int64 (n,) indices in the detector's output (used only by the fusion order ``detector``).
        confident: bool (n,), whether the detector score is high enough to paint.
        crop_probs: float32 (n,), CLIP's probability of the class on the crop of the box; NaN if not verified.
        combined: float32 (n,), combined score of detector and CLIP; the detector score if nothing was verified.
        reason: int8 (n,) ``Reason``.
        role: int8 (n,) ``Role``.
        demoted: bool (n,), whether the box may not paint regardless of its score.
        rescued: bool (n,), best box of a given class without a confident one: it paints, whatever its score.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    confident: np.ndarray
    crop_probs: np.ndarray
    combined: np.ndarray
    reason: np.ndarray
    role: np.ndarray
    demoted: np.ndarray
    rescued: np.ndarray

    @classmethod
    def of(
        cls, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, query: np.ndarray, confident: np.ndarray
    ) -> Detections:
        """Detections as they come from the detector, before any filter."""
        n = len(scores)
        return cls(
            boxes,
            classes,
            scores,
            query,
            confident,
            crop_probs=np.full(n, np.nan, np.float32),
            combined=scores,
            reason=np.full(n, Reason.NONE, np.int8),
            role=np.full(n, Role.UNDECIDED, np.int8),
            demoted=np.zeros(n, bool),
            rescued=np.zeros(n, bool),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray) -> Detections:
        """The rows selected by an index array or a boolean mask."""
        return Detections(*(getattr(self, name)[rows] for name in _ARRAYS))

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """Concatenate detections."""
        return Detections(*(np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS))

    @property
    def kept(self) -> np.ndarray:
        """bool (n,), the detections that are not dropped."""
        kept: np.ndarray = self.reason == _NONE
        return kept

    @property
    def class_score(self) -> np.ndarray:
        """float32 (n,), detector score times crop probability (1 if not verified), which ranks two classes of boxes on
        the same object."""
        score: np.ndarray = self.scores * np.where(np.isnan(self.crop_probs), np.float32(1), self.crop_probs)
        return score

    def order(self, value: np.ndarray | None = None) -> np.ndarray:
        """int64 (n,), the canonical order: by descending value (default: score), ties by class, x0, y0, x1, y1."""
        x0, y0, x1, y1 = self.boxes.T
        return np.lexsort((y1, x1, y0, x0, self.classes, -(self.scores if value is None else value)))

    def best(self, rows: np.ndarray, value: np.ndarray | None = None) -> int:
        """The row with the highest value (default: combined score) among ``rows`` (bool, at least one); ties as in
        ``order``."""
        order = self.order(self.combined if value is None else value)
        return int(order[rows[order]][0])

    def with_reason(self, rows: Rows, reason: Reason) -> Detections:
        """A copy with the reason of some rows replaced."""
        changed = self.reason.copy()
        changed[rows] = reason
        return replace(self, reason=changed)

    def with_role(self, rows: Rows, role: Role) -> Detections:
        """A copy with the role of some rows replaced."""
        changed = self.role.copy()
        changed[rows] = role
        return replace(self, role=changed)

    def drop(self, reason: Reason, rule: Callable[[Detections], np.ndarray]) -> Detections:
        """Drop kept detections by a rule, which maps the m kept detections to bool (m,), True to drop."""
        rows = np.flatnonzero(self.kept)
        return self.with_reason(rows[rule(self[rows])], reason)


_ARRAYS = tuple(f.name for f in fields(Detections))
_NONE = int(Reason.NONE)  # members of an Enum are slow to look up


def assign_classes(
    boxes: np.ndarray,
    scores: np.ndarray,
    class_scores: np.ndarray,
    classes: Sequence[int],
    box_threshold: np.ndarray,
    shape: tuple[int, int],
) -> Detections:
    """Convert queries to detections, in canonical order.

    The class of a query is the class with the highest class score (ties: the lower index). Its score is the maximum
    over all text tokens, and it is confident above the threshold of its class. Boxes are clipped to the image.

    Args:
        boxes: (n, 4) x0 y0 x1 y1 in pixels.
        scores: (n,) detector scores.
        class_scores: (n, C) scores of the C queried classes.
        classes: foreground indices of the C classes, ascending.
        box_threshold: float32 (K,) threshold per foreground class.
        shape: height and width of the image.
    """
    height, width = shape
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    own = np.asarray(classes, np.int64)[class_scores.argmax(1)]
    found = Detections.of(clipped, own, scores.astype(np.float32), np.arange(len(scores)), scores > box_threshold[own])
    return found[found.order()]


def area(boxes: np.ndarray) -> np.ndarray:
    """(n,) areas in square pixels."""
    result: np.ndarray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return result


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection areas of the boxes ``a`` (n, 4) and ``b`` (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    result: np.ndarray = (high - low).clip(0).prod(2)
    return result


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of the boxes ``a`` (n, 4) and ``b`` (m, 4); 0 for two empty boxes."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - shared
    result: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


def lies_inside(boxes: np.ndarray, share: float) -> np.ndarray:
    """bool (n, n): whether at least ``share`` of the area of box j lies in box i; False on the diagonal."""
    own = area(boxes)
    part = np.divide(intersection(boxes, boxes), own[None], out=np.zeros((len(own),) * 2, np.float32), where=own > 0)
    inside: np.ndarray = part >= np.float32(share)
    np.fill_diagonal(inside, False)
    return inside
