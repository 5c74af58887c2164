"""Class activation maps as scores in 0..1 and at another size, as in FMA-WSSS's released code (arXiv 2312.03585)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

EPSILON = 1e-7  # added to the range, not a floor, as in the original: it decides between equals


def minmax(values: torch.Tensor, dims: tuple[int, ...] = (-2, -1)) -> torch.Tensor:
    """``(x - min) / (max - min + 1e-7)`` over some axes, in the type given."""
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return (values - low) / (high - low + EPSILON)


def score(maps: torch.Tensor) -> torch.Tensor:
    """Signed maps (..., h, w) as scores in 0..1: ReLU, then min-max of each map over its pixels, never over classes
    together."""
    return minmax(maps.relu())


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (P, h, w) bilinearly at another height and width, half-pixel centres."""
    if maps.shape[-2:] == tuple(size) or not len(maps):
        return maps.reshape(len(maps), *size)
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
