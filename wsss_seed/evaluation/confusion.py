"""Counts of ground-truth and predicted values, the only thing kept of an image."""

from __future__ import annotations

import numpy as np

from ..data.classes import IGNORE

_CHUNK = 1 << 22


def joint_histogram(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """How often each pair of values occurs: int64 (256, 256), ground truth in rows, prediction in columns.

    Every uint8 value has a bin of its own, 255 included. The usual ``bincount(classes * truth + prediction)`` would put
    a predicted 255 into the row of another class.

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
    for i in range(0, rows.size, _CHUNK):  # bincount needs 8 bytes a pixel; large images would need gigabytes
        pairs = (rows[i : i + _CHUNK].astype(np.uint16) << 8) | columns[i : i + _CHUNK]
        counts += np.bincount(pairs, minlength=counts.size)
    return counts.reshape(256, 256)


def confusion_matrix(histogram: np.ndarray, classes: int) -> np.ndarray:
    """The counted pixels of a joint histogram: int64 (classes, classes + 1), ground-truth 255 left out.

    Rows are ground-truth classes, columns predicted ones, background being class 0; the last column holds predicted
    255. Of the other values there must be none.
    """
    return np.concatenate([histogram[:classes, :classes], histogram[:classes, IGNORE:]], axis=1)
