"""Upsampling of mask logits from the decoder's grid to the image, whole or restricted to where masks can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

Steps = Sequence[tuple[tuple[int, int], tuple[int, int]]]
"""Successive (size to interpolate to, part of it to keep), heights and widths, from the decoder's grid to the image."""

# Pixels of float32 logits that are upsampled together; bounds memory without changing results.
_LOGIT_PIXELS = 2**25

# Pixels of masks that are upsampled together in a window, few enough to stay in the CPU cache.
WINDOW_PIXELS = {"cpu": 2**19, "cuda": 2**26}


class Window(NamedTuple):
    """A window of upsampled masks, outside of which none of them has a logit above a floor.

    Attributes:
        which: int64 (k,) indices of the masks.
        top, left: position of the window in the image, in pixels.
        logits: float32 (k, h, w) on the device of the model.
    """

    which: torch.Tensor
    top: int
    left: int
    logits: torch.Tensor


def upsampled(low_res: torch.Tensor, steps: Steps) -> torch.Tensor:
    """Upsample mask logits to the image, bilinearly step by step.

    Args:
        low_res: float32 (n, M, h, w) logits on the decoder's grid, or (n, h, w).
        steps: from the grid to the image.

    Returns:
        float32 (n, M, H, W) or (n, H, W) on the same device.
    """
    masks = low_res if low_res.ndim == 4 else low_res[:, None]
    height, width = steps[-1][1]
    out = torch.empty(*masks.shape[:2], height, width, device=low_res.device)
    largest = max(h * w for (h, w), _ in steps)
    step = max(1, _LOGIT_PIXELS // (largest * masks.shape[1]))
    for part, whole in zip(masks.split(step), out.split(step), strict=True):
        grown = part
        for size, (h, w) in steps:
            grown = torch.nn.functional.interpolate(grown, size, mode="bilinear", align_corners=False)[..., :h, :w]
        whole[:] = grown
    return out.view(*low_res.shape[:-2], height, width)


def interpolation_matrix(grid: int, steps: Iterable[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """Weights of bilinear interpolation along one axis, from lines of the decoder's grid to lines of the image.

    Args:
        grid: lines of the grid.
        steps: successive (length, kept): interpolate to ``length`` lines and keep the first ``kept`` of them.
        device: device of the masks.

    Returns:
        float32 (H, grid).
    """
    lines = torch.eye(grid, device=device)[None]
    for length, kept in steps:
        lines = torch.nn.functional.interpolate(lines, length, mode="linear", align_corners=False)[..., :kept]
    return lines[0].T.contiguous()


def upsampled_windows(
    down: torch.Tensor, across: torch.Tensor, low_res: torch.Tensor, floor: float
) -> Iterator[Window]:
    """Upsample mask logits to the image, but only where they can be above a floor.

    A pixel of an upsampled mask is a weighted mean of pixels of the decoder's grid. Where none of these is above the
    floor, neither is the pixel, so most of most masks need no upsampling.

    Args:
        down, across: float32 (H, h) and (W, w), see ``interpolation_matrix``.
        low_res: float32 (n, h, w) logits on the grid.
        floor: a logit.

    Yields:
        Windows that together contain every mask once, except masks that are nowhere above the floor.
    """
    above = low_res > floor
    rows, columns = above.any(2), above.any(1)
    step = max(1, WINDOW_PIXELS[low_res.device.type] // (down.shape[0] * across.shape[0]))
    for which in torch.nonzero(rows.any(1))[:, 0].split(step):
        tall, top, lines = _reach(down, rows[which].any(0))
        wide, left, places = _reach(across, columns[which].any(0))
        if len(tall) and len(wide):  # not only in the padding
            yield Window(which, top, left, tall @ low_res[which, lines, places] @ wide.T)


def _reach(matrix: torch.Tensor, marked: torch.Tensor) -> tuple[torch.Tensor, int, slice]:
    """The part of an interpolation matrix (H, h) for lines of the image that depend on marked lines of the grid: its
    rows from the first to the last of these, the index of the first, and the lines of the grid they depend on."""
    reached = torch.nonzero((matrix[:, marked] > 0).any(1))[:, 0]
    if not len(reached):
        return matrix[:0], 0, slice(0)
    first, last = int(reached[0]), int(reached[-1])
    rows = matrix[first : last + 1]
    used = torch.nonzero((rows > 0).any(0))[:, 0]
    lines = slice(int(used[0]), int(used[-1]) + 1)
    return rows[:, lines], first, lines
