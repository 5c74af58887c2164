"""What becomes of each detection: dropped and why, or in the pool that paints, or in the one that makes uncertain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .detections import Detections, cross_class_duplicates


@dataclass
class Verdicts:
    """The detections of an image and what is known of them so far. All arrays have n rows.

    Attributes:
        found: the detections.
        prob: float32, CLIP's crop probability of the class; NaN where the box was not verified.
        score: float32, the combined score s'.
        why: the reason for which a detection was dropped or held back; empty while there is none.
        demoted: bool, may not paint whatever its score.
        pool: ``high`` (paints), ``low`` (makes uncertain), ``dropped``, or empty before ``divide``.
    """

    found: Detections
    prob: np.ndarray
    score: np.ndarray
    why: np.ndarray
    demoted: np.ndarray
    pool: np.ndarray

    @classmethod
    def of(cls, found: Detections) -> Verdicts:
        """Nothing known but the detections."""
        n = len(found)
        why, pool = np.full(n, "", object), np.full(n, "", object)
        return cls(found, np.full(n, np.nan, np.float32), found.scores, why, np.zeros(n, bool), pool)

    @property
    def alive(self) -> np.ndarray:
        """bool (n,): not dropped so far."""
        return self.why == ""

    def drop(self, why: str, rule: Callable[[Detections], np.ndarray]) -> None:
        """Drop those detections, of the ones still in, that the rule names."""
        rows = np.flatnonzero(self.alive)
        self.why[rows[rule(self.found[rows])]] = why

    def best(self, rows: np.ndarray, value: np.ndarray | None = None) -> int:
        """Of some rows (bool, at least one), that of the highest value (default s'); of equals the first in canonical
        order."""
        order = self.found.order(self.score if value is None else value)
        return int(order[rows[order]][0])


def settle_across_classes(v: Verdicts, iou: float, given: Sequence[int] = ()) -> None:
    """Of boxes of two classes on the same object, keep the one with the higher detector score times crop probability
    (1 where not verified). A given class whose last box would go keeps its best, demoted (B5.5)."""
    value = v.found.scores * np.where(np.isnan(v.prob), np.float32(1), v.prob)
    before = v.alive
    v.drop("other class", lambda d: cross_class_duplicates(d, value[before], iou))
    for c in given:
        own = v.found.classes == c
        if (before & own).any() and not (v.alive & own).any():
            last = v.best(before & own, value)
            v.why[last], v.demoted[last] = "", True


def survivors(v: Verdicts, fallback_thr: float) -> tuple[tuple[int, ...], int | None]:
    """The classes of an image whose labels are not given: those that own a strong box which survived (B2.7).

    Where there is none, only the box with the best combined score is kept, one that CLIP rejected included, provided
    that its detector score reaches ``fallback_thr``.

    Returns:
        Foreground indices, ascending, empty if nothing can be kept; and the row of the box kept as the last, or None.
    """
    strong, last = v.alive & v.found.strong, None
    if not strong.any():
        usable = (v.alive | (v.why == "rejected")) & (v.found.scores >= np.float32(fallback_thr))
        v.why[v.alive] = "no survivor"
        if usable.any():
            last = v.best(usable)
            v.why[last], v.found.strong[last], strong[last] = "", True, True
    return tuple(sorted(set(v.found.classes[strong].tolist()))), last


def divide(
    v: Verdicts, high_thr: np.ndarray, low_thr: np.ndarray, floor: np.ndarray, given: Sequence[int] | None
) -> None:
    """Divide the detections into pools (B9.1, B9.2).

    High: strong, not demoted, and with a combined score that reaches the class's high threshold. Low: the others whose
    score reaches the low threshold. A given class keeps at least its best box, and so does an image without given
    classes: verification re-weights but never takes away what is known to be there (T42).

    Args:
        v: the verdicts, changed in place.
        high_thr, low_thr: (K,) thresholds of the combined score.
        floor: (K,) detector score below which a box that is not strong counts for nothing.
        given: the given classes; None where labels are not.
    """
    classes, alive = v.found.classes, v.alive
    high = alive & v.found.strong & ~v.demoted & (v.score >= high_thr[classes])
    low = alive & ~high & (v.score >= low_thr[classes]) & (v.found.strong | (v.found.scores >= floor[classes]))
    for own in [alive] if given is None else [alive & (classes == c) for c in given]:
        if own.any() and not (own & (high | low)).any():
            low[v.best(own)] = True
    v.why[alive & ~high & ~low] = "score"
    v.pool[:] = np.where(high, "high", np.where(low, "low", "dropped"))
