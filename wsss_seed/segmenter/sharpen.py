"""Sharpening of predictions by SAM-based voting: each mask proposal takes its most probable class.

Source: exploratory configurations in the released code of FMA-WSSS (arXiv 2312.03585); its final commands do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..seeding.clip_sams.sams import assign_labels, mask_means, overlay, overlay_order, runs_of


def sharpen(
    maps: Iterable[torch.Tensor | np.ndarray],
    classes: Sequence[int],
    masks: Iterable[np.ndarray | Mapping[str, Any]],
    levels: Sequence[int] | np.ndarray,
    background_exponent: float,
    prediction: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The prediction of an image after SAM-based voting on the probabilities of the segmenter.

    The score of a class in a mask is its mean probability, without normalisation; that of the background is raised to
    ``background_exponent``, which above 1 favours the classes. The highest score gives the mask its label and
    confidence; ties go to the background, then to the earlier class. Masks are painted as in SAM-based seeding: from
    sub-parts to wholes, within a level from the least to the most confident, background masks too.

    Args:
        maps: probabilities float32 (H, W) of the background and then of each class; consumed one at a time.
        classes: foreground indices of the C classes that are predicted for at least one pixel.
        masks: n proposals, bool (H, W) or in COCO's RLE; empty ones are skipped.
        levels: (n,) 0 sub-part, 1 part, 2 whole.
        background_exponent: exponent of the background score.
        prediction: labels uint8 (H, W) and confidence float32 (H, W), kept where there is no mask.

    Returns:
        labels uint8 (H, W) and confidence float32 (H, W).
    """
    every = [runs_of(mask) for mask in masks]
    level = np.asarray(levels)[[run.area > 0 for run in every]]
    runs = [run for run in every if run.area]
    if not runs or not classes:
        return prediction
    scores = mask_means(maps, runs)
    scores[0] **= np.float32(background_exponent)
    votes = assign_labels(scores, classes)
    labels, confidence = prediction
    topmost = overlay(runs, overlay_order(level, votes.confidence), labels.size).reshape(labels.shape)
    painted = topmost < len(runs)
    by = topmost[painted]
    labels, confidence = labels.copy(), confidence.copy()
    labels[painted], confidence[painted] = votes.labels[by], votes.confidence[by]
    return labels, confidence
