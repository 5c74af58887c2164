"""CLIP's second look: each box as a crop, to accept, relabel or re-weight its detection.

This step is ours: asked for a class that is absent, an open-vocabulary detector often finds a box all the same.
"""

from __future__ import annotations

import numpy as np


def crop_boxes(boxes: np.ndarray, shape: tuple[int, int], expand: float = 0.10) -> np.ndarray:
    """The part of the image that CLIP sees of each box.

    The box grows by ``expand`` of its width and height at each side and is clipped to the image. Then its short side
    grows to the length of the long one, about the same centre but moved into the image where it would leave it: real
    context, no padding. Where the image itself is shorter, the crop ends there.

    Args:
        boxes: (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        expand: context at each side.

    Returns:
        float32 (n, 4).
    """
    size = np.array([shape[1], shape[0]], np.float64)
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    margin = expand * (high - low)
    low, high = (low - margin).clip(0, size), (high + margin).clip(0, size)
    side = np.minimum((high - low).max(1, keepdims=True), size)
    start = ((low + high - side) / 2).clip(0, size - side)
    return np.concatenate([start, start + side], 1).astype(np.float32)


def decide(
    probs: np.ndarray,
    classes: np.ndarray,
    candidates: np.ndarray,
    accept: np.ndarray | float = 0.20,
    top: int = 2,
    relabel: float = 0.60,
    relabel_below: float = 0.10,
) -> tuple[np.ndarray, np.ndarray]:
    """Which boxes CLIP accepts, and as which class, where no labels are given.

    In this order: a box passes to CLIP's best foreground class if that is another one, a candidate of the image, has
    at least ``relabel``, and the box's own class is below ``relabel_below``; else it is accepted if its class has at
    least its ``accept`` or is among the ``top`` foreground classes; else it is rejected.

    Args:
        probs: (n, K) crop probabilities of all foreground classes.
        classes: (n,) foreground indices.
        candidates: bool (K,), the image's candidate classes.
        accept: for all classes or (K,) for each.

    Returns:
        accepted bool (n,), and the classes int64 (n,) after relabelling.
    """
    rows = np.arange(len(classes))
    own, best = probs[rows, classes], probs.argmax(1)
    moved = (
        (best != classes)
        & (probs[rows, best] >= np.float32(relabel))
        & (own < np.float32(relabel_below))
        & candidates[best]
    )
    ranks = (-probs).argsort(1, kind="stable").argsort(1)[rows, classes]
    limits = np.broadcast_to(np.float32(accept), probs.shape[1:])[classes]
    return moved | (own >= limits) | (ranks < top), np.where(moved, best, classes)


def combined_score(det: np.ndarray, prob: np.ndarray, weight: float = 0.3, floor: float = 0.01) -> np.ndarray:
    """float32 (n,): det^(1 - weight) * max(prob, floor)^weight."""
    return (det ** (1 - weight) * np.maximum(prob, floor) ** weight).astype(np.float32)
