"""Class-aware attention affinity: maps propagated along the attention of CLIP's image tower.

Source: CLIP-ES (arXiv 2212.09506); FMA-WSSS (arXiv 2312.03585) normalises once instead of three times and may
propagate the signed maps instead of the scores. Details as in the released code of both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from ...proposals.regions import region_boxes
from .maps import score

ApplyTo = Literal["score", "cam"]


def affinity(attention: torch.Tensor, sinkhorn_iters: int = 1) -> torch.Tensor:
    """Symmetric affinity of patches.

    Sinkhorn normalisation, each iteration dividing first columns and then rows by their sums, then the mean with the
    transpose.

    Args:
        attention: float (n, n), head-averaged attention, queries in rows (``Tower.attention`` of one image).
        sinkhorn_iters: 1 in FMA-WSSS, 3 in CLIP-ES.

    Returns:
        float32 (n, n).
    """
    matrix = attention.float()
    for _ in range(sinkhorn_iters):
        matrix = matrix / matrix.sum(0, keepdim=True)
        matrix = matrix / matrix.sum(1, keepdim=True)
    return (matrix + matrix.T) / 2


def box_mask(scores: torch.Tensor, threshold: float, *, box_clip_quirk: bool = True) -> torch.Tensor:
    """Bounding boxes of the connected regions of a map above a share of its maximum.

    255 * score is truncated to uint8, a patch counts above floor(threshold * maximum), and regions are 8-connected; the
    boxes equal those of OpenCV's contours in the original, since the box of a hole lies inside that of its region.

    Args:
        scores: float32 (P, h, w) in 0..1.
        threshold: share of the maximum that a patch must strictly exceed.
        box_clip_quirk: boxes end before the last row and column, as in the released code of CLIP-ES and FMA-WSSS; a box
            one patch wide there vanishes.

    Returns:
        bool (P, h, w), True inside a box; all False for a map that is 0.
    """
    quantised = (255 * scores.detach().float()).to(torch.uint8).cpu().numpy()
    boxes = np.zeros(quantised.shape, bool)
    height, width = quantised.shape[1:]
    bottom, right = (height - 1, width - 1) if box_clip_quirk else (height, width)
    for levels, inside in zip(quantised, boxes, strict=True):
        for x0, y0, x1, y1 in region_boxes(levels > int(threshold * int(levels.max()))):
            inside[y0 : min(y1, bottom), x0 : min(x1, right)] = True
    return torch.from_numpy(boxes).to(scores.device)


def refine(
    cams: torch.Tensor,
    attention: torch.Tensor,
    *,
    sinkhorn_iters: int = 1,
    power: int = 2,
    box_threshold: float = 0.4,
    apply_to: ApplyTo = "score",
    box_clip_quirk: bool = True,
) -> torch.Tensor:
    """Maps of one image, refined by attention affinity.

    Activations of the patches inside the boxes of a map are propagated to all patches by a power of the affinity
    matrix. The box mask thus selects sources, after the power.

    Args:
        cams: float32 (P, h, w), signed.
        attention: float (h * w, h * w) of the image.
        sinkhorn_iters: iterations of Sinkhorn normalisation.
        power: power of the affinity matrix.
        box_threshold: see ``box_mask``; boxes come from the score in either case.
        apply_to: what is propagated, the ``score`` (ReLU and min-max) or the signed ``cam`` itself.
        box_clip_quirk: see ``box_mask``.

    Returns:
        float32 (P, h, w), not limited to 0..1; 0 for a map without boxes.
    """
    if not len(cams):
        return cams
    scores = score(cams)
    sources = (scores if apply_to == "score" else cams) * box_mask(scores, box_threshold, box_clip_quirk=box_clip_quirk)
    matrix = affinity(attention, sinkhorn_iters)
    propagated = sources.flatten(1).T
    for _ in range(power):  # products with a few vectors cost less than the matrix power
        propagated = matrix @ propagated
    return propagated.T.reshape(cams.shape)
