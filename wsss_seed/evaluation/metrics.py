"""Metrics from confusion matrices."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Policy = Literal["background", "wrong", "skip"]
"""Treatment of predicted ignore labels: ``background``, comparable with other work; ``wrong``, an additional class
that is never correct; ``skip``, excluded, to be reported with the coverage."""

POLICIES: tuple[Policy, ...] = get_args(Policy)


def resolve_ignored(confusion: np.ndarray, policy: Policy) -> np.ndarray:
    """Apply the policy for predicted ignore labels to their column, the last one.

    Args:
        confusion: int64 (..., C, C + 1).

    Returns int64 (..., C, C + 1); the last column counts wrong pixels without a class.
    """
    resolved = confusion.copy()
    if policy == "background":
        resolved[..., 0] += resolved[..., -1]
    if policy != "wrong":
        resolved[..., -1] = 0
    return resolved


def iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class, float64 (..., C): hits / (row + column - hits); NaN without ground-truth pixels.

    Args:
        confusion: int64 (..., C, C + 1), the last column for wrong pixels without a class.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    truth = confusion.sum(axis=-1)
    union = truth + confusion[..., :-1].sum(axis=-2) - hits
    result: np.ndarray = np.divide(hits, union, out=np.full(hits.shape, np.nan), where=truth > 0)
    return result


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Boundary IoU of each class, float64 (C,), NaN for a class without ground truth.

    Args:
        counts: int64 (3, C): pixels in both bands, in the ground-truth band, in the predicted band.
    """
    both, truth, prediction = counts.astype(np.float64)
    result: np.ndarray = np.divide(both, truth + prediction - both, out=np.full(len(both), np.nan), where=truth > 0)
    return result


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of correct pixels; NaN without pixels."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def coverage(confusion: np.ndarray) -> float:
    """Share of pixels with ground truth that are not ignored in the prediction; NaN without pixels."""
    total = confusion.sum()
    return float(1 - confusion[:, -1].sum() / total) if total else float("nan")


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def means(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the values that are not NaN, float64 (...); NaN if all are."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    result: np.ndarray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return result
