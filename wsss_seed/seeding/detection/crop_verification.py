"""CLIP's second look: each box as a crop, to accept, relabel or re-weight its detection.

This step is ours: asked for a class that is absent, an open-vocabulary detector often finds a box all the same.
"""

from __future__ import annotations

import numpy as np

from .settings import VerifySettings

UNVERIFIED_FACTOR = 0.9
"""Factor of the score of boxes that are too small to be verified, so that verified ones come before them."""

PROBABILITY_FLOOR = 0.01
"""The crop probability counts for at least this, so that verification alone cannot make a score vanish."""


def crop_boxes(boxes: np.ndarray, shape: tuple[int, int], context: float) -> np.ndarray:
    """The part of the image that CLIP sees of each box.

    The box grows by ``context`` of its width and height at each side and is clipped to the image. Then its short side
    grows to the length of the long one, about the same centre but moved into the image where it would leave it: real
    context, no padding. Where the image itself is shorter, the crop ends there.

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
    """Which boxes CLIP accepts, and as which class, where no labels are given.

    In this order: a box is relabelled to CLIP's best foreground class if that is another one, a candidate of the image,
    has at least ``relabel_threshold``, and the box's own class is below ``relabel_below``; else it is accepted if its
    class reaches its ``accept_threshold`` or is among the ``accept_top_k`` foreground classes; else it is rejected.

    Args:
        probs: (n, K) crop probabilities of all foreground classes.
        classes: (n,) foreground indices.
        candidates: bool (K,), the image's candidate classes.
        accept_threshold: float32 (K,), of each class.
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
