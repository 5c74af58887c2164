"""Figures from counts."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Policy = Literal["background", "wrong", "skip"]
"""What a predicted 255 counts as: ``background``, the figure comparable with other work; ``wrong``, an extra class
that is never right; ``skip``, left out, to be read with the coverage."""

POLICIES: tuple[Policy, ...] = get_args(Policy)


def resolve_ignored(confusion: np.ndarray, policy: Policy) -> np.ndarray:
    """Apply the policy for predicted 255 to its column, the last.

    Args:
        confusion: int64 (C, C + 1).

    Returns int64 (C, C + 1); the last column holds pixels that are wrong without being of a class.
    """
    resolved = confusion.copy()
    if policy == "background":
        resolved[:, 0] += resolved[:, -1]
    if policy != "wrong":
        resolved[:, -1] = 0
    return resolved


def iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class, float64 (C,): hits / (row + column - hits); NaN for a class without a ground-truth pixel.

    Args:
        confusion: int64 (C, C + 1), the last column wrong pixels of no class.
    """
    hits = np.diagonal(confusion).astype(np.float64)
    truth = confusion.sum(axis=1)
    union = truth + confusion[:, :-1].sum(axis=0) - hits
    result: np.ndarray = np.divide(hits, union, out=np.full(len(hits), np.nan), where=truth > 0)
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
    """Share of the counted pixels that are right; NaN where none is counted."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def coverage(confusion: np.ndarray) -> float:
    """Share of the pixels with ground truth whose prediction is not 255; NaN where there are none."""
    total = confusion.sum()
    return float(1 - confusion[:, -1].sum() / total) if total else float("nan")


def mean(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
