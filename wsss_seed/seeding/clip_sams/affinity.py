"""Class-aware attention-based affinity: class activation maps spread along the image tower's attention.

Source: CLIP-ES (arXiv 2212.09506); FMA-WSSS (arXiv 2312.03585) normalises once instead of three times and may
spread the signed maps instead of the scores. Details as in the released code of both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from ...proposals.regions import piece_boxes
from .maps import score

ApplyTo = Literal["score", "cam"]


def affinity(attention: torch.Tensor, rounds: int = 1) -> torch.Tensor:
    """Symmetric affinity of patches.

    Sinkhorn's normalisation, a round being first columns and then rows divided by their sums, then the mean with the
    transpose.

    Args:
        attention: float (n, n), head-averaged attention, queries in rows (``Tower.attention`` of one image).
        rounds: 1 in FMA-WSSS, 3 in CLIP-ES.

    Returns:
        float32 (n, n).
    """
    steps = attention.float()
    for _ in range(rounds):
        steps = steps / steps.sum(0, keepdim=True)
        steps = steps / steps.sum(1, keepdim=True)
    return (steps + steps.T) / 2


def box_mask(scores: torch.Tensor, threshold: float, *, box_clip_quirk: bool = True) -> torch.Tensor:
    """Where maps are strong: the bounding boxes of the connected pieces above a share of their maximum.

    A score becomes uint8 by cutting 255 * score off, a patch counts above floor(threshold * maximum), and pieces are
    8-connected; the boxes are those of OpenCV's contours, since a hole's box lies inside its piece's.

    Args:
        scores: float32 (P, h, w) in 0..1.
        threshold: share of the maximum, strictly exceeded.
        box_clip_quirk: boxes end before the last row and column, as in the released code of CLIP-ES and FMA-WSSS; one
            that is a single patch thin there vanishes.

    Returns:
        bool (P, h, w); all False for a map that is 0.
    """
    quantised = (255 * scores.detach().float()).to(torch.uint8).cpu().numpy()
    boxes = np.zeros(quantised.shape, bool)
    height, width = quantised.shape[1:]
    bottom, right = (height - 1, width - 1) if box_clip_quirk else (height, width)
    for levels, inside in zip(quantised, boxes, strict=True):
        for x0, y0, x1, y1 in piece_boxes(levels > int(threshold * int(levels.max()))):
            inside[y0 : min(y1, bottom), x0 : min(x1, right)] = True
    return torch.from_numpy(boxes).to(scores.device)


def refine(
    cams: torch.Tensor,
    attention: torch.Tensor,
    *,
    rounds: int = 1,
    power: int = 2,
    box_threshold: float = 0.4,
    apply_to: ApplyTo = "score",
    box_clip_quirk: bool = True,
) -> torch.Tensor:
    """Maps of one image, refined by attention affinity.

    Each patch receives from the patches inside the map's boxes, itself inside or not, by the affinity to the given
    power. The mask selects sources only, and after the power: before it, or on the receiving patches too, it would give
    other maps.

    Args:
        cams: float32 (P, h, w), signed.
        attention: float (h * w, h * w) of the image.
        rounds: of Sinkhorn's normalisation.
        power: matrix power of the affinity.
        box_threshold: see ``box_mask``; boxes come from the score in either case.
        apply_to: what is spread, the ``score`` (ReLU and min-max) or the signed ``cam`` itself.
        box_clip_quirk: see ``box_mask``.

    Returns:
        float32 (P, h, w), not confined to 0..1; 0 for a map without boxes.
    """
    if not len(cams):
        return cams
    scores = score(cams)
    sources = (scores if apply_to == "score" else cams) * box_mask(scores, box_threshold, box_clip_quirk=box_clip_quirk)
    steps = affinity(attention, rounds)
    spread = sources.flatten(1).T
    for _ in range(power):  # a few products with vectors, where the matrix power itself would cost n products
        spread = steps @ spread
    return spread.T.reshape(cams.shape)
