"""Normalisation and resizing of class activation maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F

EPSILON = 1e-7  # added to the range, not a lower bound: it decides ties (T14)


def minmax(values: torch.Tensor, dims: tuple[int, ...] = (-2, -1)) -> torch.Tensor:
    """``(x - min) / (max - min + 1e-7)`` over some axes, in the dtype given (0.4)."""
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return (values - low) / (high - low + EPSILON)


def score(maps: torch.Tensor) -> torch.Tensor:
    """Signed maps (..., h, w) as scores in 0..1: ReLU, then min-max of each map over its pixels, never across classes
    (A3.3)."""
    return minmax(maps.relu())


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (P, h, w) resized bilinearly to another height and width, half-pixel centres (0.3)."""
    if maps.shape[-2:] == tuple(size) or not len(maps):
        return maps.reshape(len(maps), *size)
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
