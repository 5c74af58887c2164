"""Verification of boxes: CLIP classifies the crop of each box, to accept, reject, relabel or re-score the detection.

This step is our own: open-vocabulary detectors often return a box even for a class that is absent.
"""

from __future__ import annotations

import numpy as np

from .settings import VerifySettings

MIN_CLASSES_FOR_RANK = 5
"""Fewest classes among which the rank of a class means anything: with two, every class is among the two best."""

PROBABILITY_FLOOR = 0.01
"""Lower bound of the crop probability, so that verification alone cannot reduce a score to zero."""


def crop_boxes(boxes: np.ndarray, shape: tuple[int, int], context: float, *, square: bool) -> np.ndarray:
    """The crop of each box that CLIP classifies.

    The box is expanded by ``context`` of its width and height at each side and clipped to the image. For a square crop
    its shorter side is then extended to the length of the longer one around the same centre, shifted to stay inside the
    image, so that the crop contains image content instead of padding. It is not extended beyond the size of the image.

    Args:
        boxes: (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        context: share of the width or height added at each side.
        square: whether to extend the shorter side.

    Returns:
        float32 (n, 4).
    """
    size = np.array([shape[1], shape[0]], np.float64)
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    margin = context * (high - low)
    low, high = (low - margin).clip(0, size), (high + margin).clip(0, size)
    if not square:
        return np.concatenate([low, high], 1).astype(np.float32)
    side = np.minimum((high - low).max(1, keepdims=True), size)
    start = ((low + high - side) / 2).clip(0, size - side)
    return np.concatenate([start, start + side], 1).astype(np.float32)


def verify(
    probs: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    candidates: np.ndarray,
    same_object: np.ndarray,
    accept_threshold: np.ndarray,
    settings: VerifySettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Accept, relabel or reject boxes of images without labels.

    Boxes of which the detector is sure (``trust_threshold``) are accepted. CLIP clearly assigns a box to another class
    if that class is its best foreground class, is a candidate of the image and reaches ``relabel_threshold``, while the
    box's own class is below ``relabel_below``: then the box is relabelled, or, without ``relabel``, rejected if a box
    of that class lies on the same object. All other boxes are accepted if their class reaches ``accept_threshold`` or
    is among the ``accept_top_k`` best foreground classes (of at least five), and rejected if not.

    Args:
        probs: (n, K) crop probabilities of all foreground classes.
        classes: (n,) foreground indices.
        scores: (n,) detector scores.
        candidates: bool (K,), candidate classes of the image.
        same_object: bool (n, K), whether a box of each class lies on the same object.
        accept_threshold: float32 (K,), threshold per class.
        settings: the other thresholds.

    Returns:
        accepted bool (n,), and the classes int64 (n,) after relabelling.
    """
    rows = np.arange(len(classes))
    own, best = probs[rows, classes], probs.argmax(1)
    trusted = scores >= np.float32(settings.trust_threshold)
    other = (
        (best != classes)
        & (probs[rows, best] >= np.float32(settings.relabel_threshold))
        & (own < np.float32(settings.relabel_below))
        & candidates[best]
        & ~trusted
    )
    accepted = trusted | (own >= accept_threshold[classes])
    if probs.shape[1] >= MIN_CLASSES_FOR_RANK:
        accepted |= (-probs).argsort(1, kind="stable").argsort(1)[rows, classes] < settings.accept_top_k
    if settings.relabel:
        return accepted | other, np.where(other, best, classes)
    return accepted & ~(other & same_object[rows, best]), classes


def combined_score(det: np.ndarray, prob: np.ndarray, weight: float, trust_threshold: float) -> np.ndarray:
    """The combined score of detector and CLIP.

    ``det ** (1 - weight) * max(prob, PROBABILITY_FLOOR) ** weight``, or the detector score where it reaches
    ``trust_threshold`` and is higher. A box too small to be verified (``prob`` NaN) counts as if CLIP agreed.

    Returns:
        float32 (n,).
    """
    agreement = np.where(np.isnan(prob), 1, np.maximum(prob, PROBABILITY_FLOOR))
    combined = det ** (1 - weight) * agreement**weight
    trusted = det >= np.float32(trust_threshold)
    result: np.ndarray = np.where(trusted, np.maximum(det, combined), combined).astype(np.float32)
    return result
