"""Joint histograms of ground-truth and predicted labels, and confusion matrices."""

from __future__ import annotations

import numpy as np

from ..data.classes import IGNORE

_CHUNK = 1 << 22


def joint_histogram(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Counts of each pair of labels: int64 (256, 256), ground truth in rows, prediction in columns.

    Every uint8 value has a bin of its own, the ignore label included. The usual ``bincount(classes * truth +
    prediction)`` would count a predicted ignore label in the row of another class.

    Args:
        truth: uint8 (H, W).
        prediction: uint8 (H, W).
    """
    if truth.shape != prediction.shape or truth.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(
            f"two uint8 maps of one size needed: {truth.dtype} {truth.shape}, {prediction.dtype} {prediction.shape}"
        )
    counts = np.zeros(256 * 256, dtype=np.int64)
    rows, columns = truth.reshape(-1), prediction.reshape(-1)
    for i in range(0, rows.size, _CHUNK):  # bincount needs 8 bytes per pixel, gigabytes for large images
        pairs = (rows[i : i + _CHUNK].astype(np.uint16) << 8) | columns[i : i + _CHUNK]
        counts += np.bincount(pairs, minlength=counts.size)
    return counts.reshape(256, 256)


def confusion_matrix(histogram: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix of a joint histogram: int64 (classes, classes + 1), without pixels ignored in ground truth.

    Rows are ground-truth classes, columns predicted ones, with background as class 0; the last column counts predicted
    ignore labels. Other labels must not occur.
    """
    return np.concatenate([histogram[:classes, :classes], histogram[:classes, IGNORE:]], axis=1)
