"""Verification of boxes: CLIP classifies the crop of each box, to accept, reject, relabel or re-score the detection.

This step is our own: open-vocabulary detectors often return a box even for a class that is absent.
"""

from __future__ import annotations

import numpy as np

from .settings import VerifySettings

UNVERIFIED_FACTOR = 0.9
"""Factor on the scores of boxes too small to be verified, so that verified boxes rank higher."""

PROBABILITY_FLOOR = 0.01
"""Lower bound of the crop probability, so that verification alone cannot reduce a score to zero."""


def crop_boxes(boxes: np.ndarray, shape: tuple[int, int], context: float) -> np.ndarray:
    """The crop of each box that CLIP classifies.

    The box is expanded by ``context`` of its width and height at each side and clipped to the image. Then its shorter
    side is extended to the length of the longer one around the same centre, shifted to stay inside the image, so that
    the crop contains image content instead of padding. It is not extended beyond the size of the image.

    Args:
        boxes: (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        context: share of the width or height added at each side.

    Returns:
        float32 (n, 4).
    """
    size = np.array([shape[1], shape[0]], np.float64)
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    margin = context * (high - low)
    low, high = (low - margin).clip(0, size), (high + margin).clip(0, size)
    side = np.minimum((high - low).max(1, keepdims=True), size)
    start = ((low + high - side) / 2).clip(0, size - side)
    return np.concatenate([start, start + side], 1).astype(np.float32)


def verify(
    probs: np.ndarray,
    classes: np.ndarray,
    candidates: np.ndarray,
    accept_threshold: np.ndarray,
    settings: VerifySettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Accept, relabel or reject boxes of images without labels.

    A box is relabelled to CLIP's best foreground class if that class differs from its own, is a candidate of the image
    and reaches ``relabel_threshold``, while its own class is below ``relabel_below``. Otherwise it is accepted if its
    class reaches ``accept_threshold`` or is among the ``accept_top_k`` best foreground classes, and rejected if not.

    Args:
        probs: (n, K) crop probabilities of all foreground classes.
        classes: (n,) foreground indices.
        candidates: bool (K,), candidate classes of the image.
        accept_threshold: float32 (K,), threshold per class.
        settings: the other thresholds.

    Returns:
        accepted bool (n,), and the classes int64 (n,) after relabelling.
    """
    rows = np.arange(len(classes))
    own, best = probs[rows, classes], probs.argmax(1)
    relabelled = (
        (best != classes)
        & (probs[rows, best] >= np.float32(settings.relabel_threshold))
        & (own < np.float32(settings.relabel_below))
        & candidates[best]
    )
    ranks = (-probs).argsort(1, kind="stable").argsort(1)[rows, classes]
    accepted = relabelled | (own >= accept_threshold[classes]) | (ranks < settings.accept_top_k)
    return accepted, np.where(relabelled, best, classes)


def combined_score(det: np.ndarray, prob: np.ndarray, weight: float) -> np.ndarray:
    """float32 (n,): ``det ** (1 - weight) * max(prob, PROBABILITY_FLOOR) ** weight``."""
    result: np.ndarray = (det ** (1 - weight) * np.maximum(prob, PROBABILITY_FLOOR) ** weight).astype(np.float32)
    return result
