"""Losses of prompt learning, on image-level labels and on coarse seeds: FMA-WSSS, arXiv 2312.03585."""

from __future__ import annotations

from typing import Literal

import torch

from ...data.classes import IGNORE
from .maps import resized


def contrastive_loss(
    logits: torch.Tensor, labels: torch.Tensor, *, reduce: Literal["pairs", "images"] = "pairs"
) -> torch.Tensor:
    """Multi-label contrastive loss: each class present against the absent classes of its own image.

    ``-S[n, c] + log(exp S[n, c] + sum of exp S[n, j] over absent j)`` for each class c present in image n; the other
    classes present and the background prompts take no part. Images without a present or without an absent class are
    skipped.

    Args:
        logits: float (N, K), scaled cosine similarities of the foreground classes; computed in float32.
        labels: bool (N, K), the classes present.
        reduce: mean over all ``pairs`` of image and class, or over the pairs of each image and then over ``images``.

    Returns:
        float32 scalar; 0, but attached to the graph, where no image counts.
    """
    present = labels.to(logits.device).bool()
    logits = logits.float()
    valid = present.any(1) & ~present.all(1)
    if not valid.any():
        return 0 * logits.sum()
    present, logits = present[valid], logits[valid]
    absent = logits.masked_fill(present, -torch.inf).logsumexp(1, keepdim=True)
    losses = (torch.logaddexp(logits, absent) - logits)[present]
    if reduce == "pairs":
        return losses.mean()
    share = (1 / present.sum(1, keepdim=True)).expand(present.shape)[present]
    return (losses * share).sum() / len(present)


def cam_loss(
    cams: torch.Tensor,
    labels: torch.Tensor,
    seeds: torch.Tensor,
    *,
    squared: bool = False,
    balanced: bool = False,
    detach_max: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """CAM activation loss: maps are pulled up to their own maximum inside the seed and pushed down to 0 outside.

    The maximum is that of a map inside the seed of its class, at least 0, and treated as a constant. Outside are all
    other labels except ignored pixels, other foreground classes included. The sums are divided by the number of
    labelled pixels over all maps.

    Args:
        cams: float32 (P, h, w), signed, one map per True of ``labels`` in row-major order; upsampled bilinearly
            to the size of the seeds.
        labels: bool (N, K), the classes present.
        seeds: integer label maps (N, H, W), 0 background, 1..K, 255 ignore.
        squared: half the squared differences instead of the absolute ones.
        balanced: half the mean over the pixels inside and half the mean over those outside.
        detach_max: treat the maximum as a constant, as published.

    Returns:
        Losses inside and outside, float32 scalars to be added; 0, but attached to the graph, where there is nothing to
        average.
    """
    seeds = seeds.to(cams.device)
    images, classes = labels.to(cams.device).bool().nonzero(as_tuple=True)
    maps = resized(cams.float(), (int(seeds.shape[1]), int(seeds.shape[2])))
    of_map = seeds[images].long()
    inside = of_map == (classes + 1)[:, None, None]
    outside = ~inside & (of_map != IGNORE)
    top = maps.masked_fill(~inside, 0).flatten(1).amax(1)[:, None, None].clamp(min=0)
    pull = ((top.detach() if detach_max else top) - maps).abs()
    push = maps.relu()
    if squared:
        pull, push = pull**2 / 2, push**2 / 2
    counts = (2 * inside.sum(), 2 * outside.sum()) if balanced else ((inside | outside).sum(),) * 2
    up, down = (
        torch.where(where, loss, 0).sum() / count.clamp(min=1)
        for loss, where, count in zip((pull, push), (inside, outside), counts, strict=True)
    )
    return up, down
