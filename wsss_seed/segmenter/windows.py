"""Seeing an image several times: in windows, at several scales, mirrored. The answers are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

Network = Callable[[torch.Tensor], torch.Tensor]
"""From pixels float32 (3, h, w) to class probabilities float32 (C, h, w), whatever h and w."""


def places(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side, so that they cover it; the last one is moved back to end where the side ends.

    ``places(10, 4, 3)`` is 0, 3, 6; ``places(9, 4, 3)`` is 0, 3, 5; a side no longer than the window has one, at 0.
    """
    last = max(0, length - window)
    return [*range(0, last, stride), last]


def slide(network: Network, pixels: torch.Tensor, window: int, stride: int) -> torch.Tensor:
    """Class probabilities of an image seen through a window; where windows overlap, the mean of theirs.

    The memory that the network needs then depends on the window, not on the image.

    Args:
        network: is given windows, smaller ones where a side is shorter than the window.
        pixels: float32 (3, H, W).
        window: its side in pixels; 0 for the whole image at once.
        stride: from window to window, 1..window.

    Returns float32 (C, H, W).
    """
    height, width = pixels.shape[-2:]
    if not window or (height <= window and width <= window):
        return network(pixels)
    total: torch.Tensor | None = None
    seen = pixels.new_zeros(height, width)
    for top in places(height, window, stride):
        for left in places(width, window, stride):
            there = (..., slice(top, top + window), slice(left, left + window))
            found = network(pixels[there])
            if total is None:
                total = found.new_zeros(len(found), height, width)
            total[there] += found
            seen[there] += 1
    assert total is not None
    return total / seen.to(total.device)


def views(
    network: Network, pixels: torch.Tensor, *, scales: Sequence[float], flip: bool, window: int = 0, stride: int = 1
) -> torch.Tensor:
    """Class probabilities of an image, the mean over its scales and, if wanted, their mirror images.

    Args:
        network: see ``slide``.
        pixels: float32 (3, H, W).
        scales: factors of the image's size, at least one; resizing is bilinear, with antialiasing where it shrinks.
        flip: whether each scale is also seen mirrored left to right.
        window: of ``slide``, at every scale.
        stride: of ``slide``.

    Returns float32 (C, H, W).
    """
    size = pixels.shape[-2:]
    total: torch.Tensor | None = None
    for scale in scales:
        view = resize(pixels, [max(1, round(side * scale)) for side in size])
        found = slide(network, view, window, stride)
        if flip:
            found = (found + slide(network, view.flip(-1), window, stride).flip(-1)) / 2
        found = resize(found, size)
        total = found if total is None else total + found
    assert total is not None
    return total / len(scales)


def resize(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps (C, h, w) bilinearly at another height and width, with antialiasing where they shrink."""
    if list(maps.shape[-2:]) == list(size):
        return maps
    return F.interpolate(maps[None], list(size), mode="bilinear", align_corners=False, antialias=True)[0]
