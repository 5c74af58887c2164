"""Masks from a decoder's grid to the image, only where there is something to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

# Pixels of masks that are enlarged together in a window, few enough to stay in a processor's cache.
WINDOW_PIXELS = {"cpu": 2**19, "cuda": 2**26}


class Window(NamedTuple):
    """A cut-out of enlarged masks, outside of which none of them has a logit above the floor that was asked for.

    Attributes:
        which: int64 (k,) the masks, as places in what was enlarged.
        top, left: place of the window in the image, in pixels.
        logits: float32 (k, h, w) on the model's device.
    """

    which: torch.Tensor
    top: int
    left: int
    logits: torch.Tensor


def interpolation_matrix(grid: int, steps: Iterable[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """Share of each line of a decoder's grid in each line of the image, as bilinear interpolation gives it.

    Args:
        grid: lines of the grid.
        steps: (length, kept) one after the other: interpolate to so many lines, of which the first so many are kept.
        device: where the masks are.

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
    """Enlarge mask logits to the image, but only where they can be above a floor.

    A pixel of an enlarged mask is a mean of the pixels of the decoder's grid around it. So where none of these is
    above the floor, neither is the pixel, and most of most masks need no enlarging.

    Args:
        down, across: float32 (H, h) and (W, w), see ``interpolation_matrix``.
        low_res: float32 (n, h, w) logits on the grid.
        floor: a logit.

    Yields:
        Cut-outs that together hold every mask once, except those that are nowhere above the floor.
    """
    above = low_res > floor
    rows, columns = above.any(2), above.any(1)
    step = max(1, WINDOW_PIXELS[low_res.device.type] // (down.shape[0] * across.shape[0]))
    for which in torch.nonzero(rows.any(1))[:, 0].split(step):
        tall, top, lines = _reach(down, rows[which].any(0))
        wide, left, places = _reach(across, columns[which].any(0))
        if len(tall) and len(wide):  # not only in the padding
            yield Window(which, top, left, tall @ low_res[which, lines, places] @ wide.T)


def _reach(enlarging: torch.Tensor, marked: torch.Tensor) -> tuple[torch.Tensor, int, slice]:
    """The part of (H, h) that enlarges what the marked lines of the grid have a share in: its rows from the first to
    the last of these, the first one's place, and the lines that have a share in any of them."""
    reached = torch.nonzero((enlarging[:, marked] > 0).any(1))[:, 0]
    if not len(reached):
        return enlarging[:0], 0, slice(0)
    first, last = int(reached[0]), int(reached[-1])
    rows = enlarging[first : last + 1]
    used = torch.nonzero((rows > 0).any(0))[:, 0]
    lines = slice(int(used[0]), int(used[-1]) + 1)
    return rows[:, lines], first, lines
