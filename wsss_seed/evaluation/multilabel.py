"""How good image-level classification is: average precision, and precision, recall and F1 of the decision."""

from __future__ import annotations

from typing import Any

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the precision-recall curve of one class; images of equal score count as one point of the curve.

    Args:
        scores: (N,) score of the class in each image.
        labels: (N,) whether it is there.

    Returns:
        Sum over the distinct scores of (rise in recall) * precision; None where the class is in no image.
    """
    labels = labels.astype(bool)
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = labels[order].cumsum()[ends]
    recall = np.diff(hits, prepend=0) / labels.sum()
    return float((recall * hits / (ends + 1)).sum())


def multilabel_report(scores: np.ndarray, labels: np.ndarray, decided: np.ndarray) -> dict[str, Any]:
    """Quality of multi-label classification, against labels that are read for evaluation only.

    Args:
        scores: (N, K) score of each class in each image, for the average precision.
        labels: bool (N, K), the truth.
        decided: bool (N, K), the classes taken as present.

    Returns:
        ``map`` (mean over the classes that occur), ``per_class_ap``, ``precision``, ``recall``, ``f1`` (lists over the
        classes; None where undefined, that is for a class that never occurs or is never decided on) and
        ``micro_precision``, ``micro_recall``, ``micro_f1`` over all decisions together.
    """
    labels, decided = labels.astype(bool), decided.astype(bool)
    hits, there, said = (labels & decided).sum(0), labels.sum(0), decided.sum(0)
    ap = [average_precision(s, y) for s, y in zip(scores.T, labels.T, strict=True)]
    known = [a for a in ap if a is not None]

    def ratio(a: int, b: int) -> float | None:
        return float(a / b) if b else None

    return {
        "map": float(np.mean(known)) if known else None,
        "per_class_ap": ap,
        "precision": [ratio(h, s) for h, s in zip(hits, said, strict=True)],
        "recall": [ratio(h, t) for h, t in zip(hits, there, strict=True)],
        "f1": [ratio(2 * h, s + t) for h, s, t in zip(hits, said, there, strict=True)],
        "micro_precision": ratio(hits.sum(), said.sum()),
        "micro_recall": ratio(hits.sum(), there.sum()),
        "micro_f1": ratio(2 * hits.sum(), said.sum() + there.sum()),
    }
