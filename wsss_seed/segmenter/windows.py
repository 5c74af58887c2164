"""Seeing an image several times: in windows, at several sizes, mirrored. The answers are averaged."""

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
        network: is given the windows, narrower ones where a side is shorter than the window.
        pixels: float32 (3, H, W).
        window: its side in pixels; an image that fits into it is seen whole.
        stride: from window to window, 1..window.

    Returns float32 (C, H, W).
    """
    height, width = pixels.shape[-2:]
    if height <= window and width <= window:
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
    return total / seen


def views(
    network: Network,
    pixels: torch.Tensor,
    sizes: Sequence[tuple[int, int]],
    *,
    flip: bool,
    window: int,
    stride: int,
    size: tuple[int, int],
) -> torch.Tensor:
    """Class probabilities of an image, the mean over several sizes of it and, if wanted, their mirror images.

    Args:
        network: see ``slide``.
        pixels: float32 (3, H, W).
        sizes: heights and widths at which the network sees it, at least one.
        flip: whether each is also seen mirrored left to right.
        window: of ``slide``, at every size.
        stride: of ``slide``.
        size: height and width of the outcome.

    Returns float32 (C, *size).
    """
    total: torch.Tensor | None = None
    for seen in sizes:
        view = resize(pixels, seen)
        found = slide(network, view, window, stride)
        if flip:
            found = (found + slide(network, view.flip(-1), window, stride).flip(-1)) / 2
        found = resize(found, size)
        total = found if total is None else total + found
    assert total is not None
    return total / len(sizes)


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (C, h, w) bilinearly at another height and width, with antialiasing where they shrink."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
