"""Mask proposals give a prediction their outlines: what the segmenter sees inside a mask, all of it is.

Source: exploratory configurations in the released code of FMA-WSSS (arXiv 2312.03585); its final commands do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..seeding.clip_sams.sams import judge, mask_means, painted_by, painting_order, runs_of


def sharpened(
    maps: Iterable[torch.Tensor | np.ndarray],
    classes: Sequence[int],
    masks: Iterable[np.ndarray | Mapping[str, Any]],
    levels: Sequence[int] | np.ndarray,
    alpha: float,
    under: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The prediction of an image after SAM-based voting on the segmenter's own probabilities.

    The score of a class in a mask is its mean probability there; nothing is normalised. Background's is raised to
    ``alpha``, which for 1 and more favours the classes. The best score gives the mask its label and confidence, of
    equals background and then the earlier class. Masks are painted as in SAM-based seeding: from sub-parts to wholes,
    inside a level from the least to the most confident, later over earlier, masks of background too.

    Args:
        maps: probabilities float32 (H, W) of background and then of each of the classes; taken one at a time.
        classes: foreground indices of the C classes that win at least one pixel.
        masks: n proposals, bool (H, W) or in COCO's RLE; those without pixels are left out.
        levels: (n,) 0 sub-part, 1 part, 2 whole.
        alpha: exponent of background.
        under: labels uint8 (H, W) and confidence float32 (H, W) where no mask paints.

    Returns:
        labels uint8 (H, W) and confidence float32 (H, W).
    """
    every = [runs_of(mask) for mask in masks]
    level = np.asarray(levels)[[run.area > 0 for run in every]]
    runs = [run for run in every if run.area]
    if not runs or not classes:
        return under
    scores = mask_means(maps, runs)
    scores[0] **= np.float32(alpha)
    verdicts = judge(scores, classes)
    labels, confidence = under
    painter = painted_by(runs, painting_order(level, verdicts.confidence), labels.size).reshape(labels.shape)
    painted = painter < len(runs)
    by = painter[painted]
    labels, confidence = labels.copy(), confidence.copy()
    labels[painted], confidence[painted] = verdicts.labels[by], verdicts.confidence[by]
    return labels, confidence
