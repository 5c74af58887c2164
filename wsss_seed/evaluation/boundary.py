"""Boundary IoU: IoU of the bands along the outlines, which masks of the right place but the wrong outline fail."""

from __future__ import annotations

import math

import numpy as np

from ..data.classes import IGNORE

DILATION_RATIO = 0.02
"""Width of the band as a share of the image's diagonal (Cheng et al. 2021, "Boundary IoU", section 4)."""


def boundary_band(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels at most ``width`` from another label or from the edge of the image, bool (H, W).

    Distance is that of the chessboard. For each label this is its mask less the mask eroded ``width`` times with 3 x 3
    ones over zeros outside the image, as in the authors' code, for all labels at once.
    """
    height, columns = labels.shape
    band = np.ones(labels.shape, dtype=bool)
    inner_height, inner_width = height - 2 * width, columns - 2 * width
    if inner_height <= 0 or inner_width <= 0:
        return band
    window = 2 * width + 1
    steps_down = _window_sums(labels[1:] != labels[:-1], window - 1, window)
    steps_right = _window_sums(labels[:, 1:] != labels[:, :-1], window, window - 1)
    band[width : height - width, width : columns - width] = (steps_down > 0) | (steps_right > 0)
    return band


def _window_sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sums over all windows that lie inside, from an integral image."""
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype=np.int32)
    np.cumsum(values, axis=0, out=integral[1:, 1:])
    np.cumsum(integral[1:, 1:], axis=1, out=integral[1:, 1:])
    return (
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Pixels of each class in the bands: int64 (3, 256), in both at once, in ground truth, in the prediction.

    Ground-truth 255 is laid over the prediction first, so that a perfect prediction has boundary IoU 1.

    Args:
        truth: uint8 (H, W).
        prediction: uint8 (H, W); 255 here is a label like any other, and wrong.
        ignored: bool (H, W), further pixels to leave out.
    """
    width = max(1, round(DILATION_RATIO * math.hypot(*truth.shape)))
    void = truth == IGNORE if ignored is None else (truth == IGNORE) | ignored
    # Ids beyond uint8: a predicted 255 must differ from void.
    truth = np.where(void, 256, truth.astype(np.int16))
    prediction = np.where(void, 256, prediction.astype(np.int16))
    in_truth = boundary_band(truth, width) & ~void
    in_prediction = boundary_band(prediction, width) & ~void
    both = in_truth & in_prediction & (truth == prediction)
    return np.stack(
        [
            np.bincount(labels[where], minlength=256)
            for labels, where in ((truth, both), (truth, in_truth), (prediction, in_prediction))
        ]
    )
