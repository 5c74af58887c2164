"""Upsampling of mask logits from the decoder's grid to the image, whole or restricted to where masks can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
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
        float32 (H, grid), which the caller must not change.
    """
    return _interpolation_matrix(grid, tuple(steps), device)


@lru_cache(maxsize=8)  # an image needs the same two for each batch of masks
def _interpolation_matrix(grid: int, steps: tuple[tuple[int, int], ...], device: torch.device) -> torch.Tensor:
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
    # The only transfer from the device.
    bounds = torch.cat([_bounds(down, above.any(2)), _bounds(across, above.any(1))], 1).cpu().numpy()
    found = np.flatnonzero((bounds[:, 0] < bounds[:, 1]) & (bounds[:, 4] < bounds[:, 5]))
    step = max(1, WINDOW_PIXELS[low_res.device.type] // (down.shape[0] * across.shape[0]))
    for part in (found[i : i + step] for i in range(0, len(found), step)):
        first, last = bounds[part].min(0).tolist(), bounds[part].max(0).tolist()
        (top, lines), (left, places) = ((first[i], slice(first[i + 2], last[i + 3])) for i in (0, 4))
        tall, wide = down[top : last[1], lines], across[left : last[5], places]
        which = torch.from_numpy(part).to(low_res.device)
        yield Window(which, top, left, tall @ low_res[which, lines, places] @ wide.T)


def _bounds(matrix: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Lines of the image that depend on marked lines of the grid, and lines of the grid that these depend on.

    Args:
        matrix: interpolation matrix (H, h).
        marked: bool (n, h).

    Returns:
        int64 (n, 4): of both the first and the one past the last; the first two are equal if there are none.
    """
    used = matrix > 0
    reached = marked.float() @ used.float().T > 0
    first, last = ends(reached)
    of_line = ends(used)
    return torch.stack([first, last, of_line[0][first], of_line[1][(last - 1).clamp(min=0)]], 1)


def ends(marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the first mark, and the one past the last, in each row of marks bool (n, k): int64 (n,); 0 and 0 in rows
    without marks."""
    places = torch.arange(1, marks.shape[1] + 1, device=marks.device) * marks
    last = places.amax(1)
    first = torch.where(marks, places - 1, marks.shape[1]).amin(1)
    return torch.minimum(first, last), last
