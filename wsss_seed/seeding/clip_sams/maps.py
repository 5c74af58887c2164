"""Normalisation and resizing of class activation maps, as in FMA-WSSS's released code (arXiv 2312.03585)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

EPSILON = 1e-7  # added to the range, not a lower bound: it decides ties


def minmax(values: torch.Tensor, dims: tuple[int, ...] = (-2, -1)) -> torch.Tensor:
    """``(x - min) / (max - min + 1e-7)`` over some axes, in the dtype given."""
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return (values - low) / (high - low + EPSILON)


def score(maps: torch.Tensor) -> torch.Tensor:
    """Signed maps (..., h, w) as scores in 0..1: ReLU, then min-max over the pixels of each map."""
    return minmax(maps.relu())


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (P, h, w) resized bilinearly to another height and width, half-pixel centres."""
    if maps.shape[-2:] == tuple(size) or not len(maps):
        return maps.reshape(len(maps), *size)
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
