"""Boundary IoU: the IoU of the bands along the outlines of masks, sensitive to inaccurate outlines."""

from __future__ import annotations

import math

import numpy as np

from ..data.classes import IGNORE

DILATION_RATIO = 0.02
"""Width of the band as a share of the image's diagonal (Cheng et al. 2021, "Boundary IoU", section 4)."""


def boundary_band(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels at most ``width`` from another label or from the edge of the image, bool (H, W).

    Distance is Chebyshev's. For each label this is its mask minus the mask eroded ``width`` times with a 3 x 3 kernel,
    zeros outside the image, as in the authors' code, but for all labels at once: a pixel is inside where the minimum
    and the maximum of the labels around it are the same.

    Args:
        labels: int16 (H, W).
        width: in pixels, at least 1.
    """
    import cv2

    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    lowest, highest = (f(labels, kernel, borderType=cv2.BORDER_REPLICATE) for f in (cv2.erode, cv2.dilate))
    band: np.ndarray = lowest != highest
    band[:width] = band[-width:] = True
    band[:, :width] = band[:, -width:] = True
    return band


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Pixels of each class in the boundary bands: int64 (3, 256), in both bands, in the ground-truth band, in the
    predicted band.

    The ignore label of the ground truth is copied into the prediction first, so that a perfect prediction has boundary
    IoU 1.

    Args:
        truth: uint8 (H, W).
        prediction: uint8 (H, W); the ignore label is a label like any other here, and wrong.
        ignored: bool (H, W), further pixels to leave out.
    """
    width = max(1, round(DILATION_RATIO * math.hypot(*truth.shape)))
    void = truth == IGNORE if ignored is None else (truth == IGNORE) | ignored
    # Beyond uint8: a predicted ignore label must differ from void.
    truth = np.where(void, np.int16(256), truth)
    prediction = np.where(void, np.int16(256), prediction)
    in_truth = boundary_band(truth, width) & ~void
    in_prediction = boundary_band(prediction, width) & ~void
    both = in_truth & in_prediction & (truth == prediction)
    return np.stack(
        [
            np.bincount(labels[where], minlength=256)
            for labels, where in ((truth, both), (truth, in_truth), (prediction, in_prediction))
        ]
    )
