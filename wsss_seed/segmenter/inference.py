"""Sliding-window, multi-scale and flip inference; probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

Network = Callable[[torch.Tensor], torch.Tensor]
"""Maps pixels float32 (3, h, w) of any size to class probabilities float32 (C, h, w)."""


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Start positions of windows that cover a side; the last one is moved back to end where the side ends.

    ``window_starts(10, 4, 3)`` is 0, 3, 6; ``window_starts(9, 4, 3)`` is 0, 3, 5; a side no longer than the window has
    one window, at 0.
    """
    last = max(0, length - window)
    return [*range(0, last, stride), last]


def slide_inference(network: Network, pixels: torch.Tensor, window: int, stride: int) -> torch.Tensor:
    """Class probabilities of an image by sliding-window inference, averaged where windows overlap.

    The memory of the network then depends on the window, not on the image.

    Args:
        network: applied to each window; windows are smaller where the image is.
        pixels: float32 (3, H, W).
        window: side of the window in pixels; an image that fits into it is processed whole.
        stride: distance between windows in pixels, 1..window.

    Returns float32 (C, H, W).
    """
    height, width = pixels.shape[-2:]
    if height <= window and width <= window:
        return network(pixels)
    total: torch.Tensor | None = None
    counts = pixels.new_zeros(height, width)
    for top in window_starts(height, window, stride):
        for left in window_starts(width, window, stride):
            here = (..., slice(top, top + window), slice(left, left + window))
            found = network(pixels[here])
            if total is None:
                total = found.new_zeros(len(found), height, width)
            total[here] += found
            counts[here] += 1
    assert total is not None
    return total / counts


def multi_scale_inference(
    network: Network,
    pixels: torch.Tensor,
    sizes: Sequence[tuple[int, int]],
    *,
    flip: bool,
    window: int,
    stride: int,
    size: tuple[int, int],
) -> torch.Tensor:
    """Class probabilities of an image, averaged over several sizes and optionally their horizontal flips.

    Args:
        network: see ``slide_inference``.
        pixels: float32 (3, H, W).
        sizes: heights and widths to which the image is resized, at least one.
        flip: whether to average with the horizontal flip of each.
        window, stride: as for ``slide_inference``, at every size.
        size: height and width of the result.

    Returns float32 (C, *size).
    """
    total: torch.Tensor | None = None
    for scaled in sizes:
        view = resize(pixels, scaled)
        found = slide_inference(network, view, window, stride)
        if flip:
            found = (found + slide_inference(network, view.flip(-1), window, stride).flip(-1)) / 2
        found = resize(found, size)
        total = found if total is None else total + found
    assert total is not None
    return total / len(sizes)


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (C, h, w) resized bilinearly to another height and width, with antialiasing when downsampling."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
