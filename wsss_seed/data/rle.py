"""COCO's polygons and run-length masks, validated before decoding.

pycocotools trusts its input: its C code writes past its buffers if runs do not fit the image, and allocates memory
proportional to the length of an outline without checking for success. A process that crashes leaves no message.

Runs count pixels in column-major order, alternately outside and inside the mask, starting outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .images import max_pixels

MAX_OUTLINE = 4_000_000
"""Longest outline of all polygons of an object in pixels; pycocotools needs about 80 bytes per pixel."""

Shape = np.ndarray | list[np.ndarray]
"""Runs int64 (n,), or polygons, each float64 (2k,), x and y of its vertices."""


def checked_size(height: Any, width: Any) -> tuple[int, int]:
    """Height and width as integers.

    Raises:
        ValueError: not positive integers, or more pixels than an image may have.
    """
    limit = max_pixels()
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int | float) or not 0 < side <= limit or side % 1:
            raise ValueError(f"width {width!r:.20} and height {height!r:.20} are not a size in pixels")
    if height * width > limit:
        raise ValueError(f"{width} x {height} are more than {limit // 10**6} megapixels")
    return int(height), int(width)


def checked_shape(segmentation: Any, height: int, width: int) -> Shape | None:
    """Validate a COCO ``segmentation`` for safe decoding.

    A polygon may exceed the image by its longer side; a vertex farther away is invalid, and clipping it would change
    the outline inside the image.

    Returns:
        None if it covers no pixels: polygons of fewer than three vertices, or nothing at all.

    Raises:
        ValueError, TypeError, LookupError, OverflowError: invalid, or does not fit the image.
    """
    if isinstance(segmentation, list):
        # pycocotools would interpret four numbers as a box.
        return _checked_polygons([p for p in segmentation if len(p) >= 6], max(height, width)) or None
    if not segmentation:
        return None
    counts, size = segmentation["counts"], segmentation["size"]
    if list(size) != [height, width]:
        raise ValueError(f"a run-length mask of size {size!r:.60}, not {[height, width]}")
    if isinstance(counts, str):
        counts = counts.encode("ascii")
    return unpacked(counts, height * width) if isinstance(counts, bytes) else _checked_counts(counts, height * width)


def _checked_polygons(polygons: Sequence[Any], side: int) -> list[np.ndarray]:
    checked, outline = [], 0.0
    for polygon in polygons:
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in polygon):
            raise ValueError("a polygon with coordinates that are not numbers")
        points = np.array(polygon, np.float64)
        if not np.isfinite(points).all():
            raise ValueError("a polygon with coordinates that are not finite")
        if points.min() < -side or points.max() > 2 * side:
            raise ValueError("a polygon far outside the image")
        corners = points[: len(points) // 2 * 2].reshape(-1, 2)
        outline += len(corners) + np.abs(corners - np.roll(corners, 1, 0)).max(1).sum()
        checked.append(points)
    if outline > MAX_OUTLINE:
        raise ValueError(f"polygons with an outline of {outline:.0f} pixels, more than {MAX_OUTLINE}")
    return checked


def _checked_counts(counts: Any, pixels: int) -> np.ndarray:
    if not isinstance(counts, list) or any(type(c) is not int or not 0 <= c <= pixels for c in counts):
        raise ValueError(f"runs that are not integers from 0 to the {pixels} pixels of the image")
    return _complete(np.array(counts, np.int64), pixels)


def _complete(runs: np.ndarray, pixels: int) -> np.ndarray:
    if runs.sum() != pixels:
        raise ValueError(f"runs of {runs.sum()} pixels in an image of {pixels}")
    return runs


def unpacked(text: bytes, pixels: int) -> np.ndarray:
    """Decode COCO's compressed runs for an image of ``pixels`` pixels: int64 (n,).

    A character, counted from ``0``, has five bits of a number, the lowest first, and a continuation bit; the highest
    bit of a number is its sign. From the fourth run on, a number is the difference from the run two before.

    Raises:
        ValueError: damaged, or a different number of pixels.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("damaged runs")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits; runs have 32
        raise ValueError("damaged runs")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * places, starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << 5 * lengths, 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    if numbers.min() < 0 or numbers.max() > pixels:
        raise ValueError("damaged runs")
    return _complete(numbers, pixels)


def rasterised(shape: Shape, height: int, width: int) -> np.ndarray:
    """Decode a shape from ``checked_shape`` to a mask bool (H, W)."""
    if isinstance(shape, np.ndarray):
        return np.repeat(np.arange(len(shape)) % 2 == 1, shape).reshape(width, height).T
    from pycocotools import mask as rle

    return np.asarray(rle.decode(rle.merge(rle.frPyObjects(shape, height, width)))).astype(bool)
