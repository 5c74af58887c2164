"""Connected pieces of a mask: small holes filled, small islands removed, boxes round what there is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class _Runs(NamedTuple):
    """The horizontal runs of a mask, row by row: first column, column after the last, row, and connected piece."""

    start: np.ndarray
    end: np.ndarray
    row: np.ndarray
    piece: np.ndarray


def fill_and_clean(mask: np.ndarray, min_area: int = 100) -> np.ndarray:
    """Fill holes and then remove islands of fewer than ``min_area`` pixels.

    Gives what segment_anything's ``remove_small_regions`` gives for "holes" and then "islands", without OpenCV: pieces
    are 8-connected, every small piece of background counts as a hole even at the image's edge, and where all islands
    are small the largest stays (of equals, the first from the top left). An empty mask stays empty.

    Args:
        mask: bool (H, W).
        min_area: in pixels.

    Returns:
        A new bool (H, W).
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask.copy()
    (tall, heights), (wide, widths) = _window(rows, mask.shape[0]), _window(columns, mask.shape[1])
    window = mask[tall, wide]
    holes = _runs(~window)
    filled = ~_paint(holes, _areas(holes, heights, widths) >= min_area, window.shape)
    islands = _runs(filled)
    areas = _areas(islands, heights, widths)
    kept = areas >= min_area
    if not kept.any():
        kept[areas.argmax()] = True
    cleaned = _paint(islands, kept, window.shape)
    return cleaned.repeat(heights, 0).repeat(widths, 1)


def piece_boxes(mask: np.ndarray) -> np.ndarray:
    """Boxes of the 8-connected pieces of a mask bool (H, W): int64 (n, 4) x0 y0 x1 y1, the last two exclusive."""
    runs = _runs(mask)
    _, piece = np.unique(runs.piece, return_inverse=True)
    boxes = np.empty((piece.max(initial=-1) + 1, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(mask.shape), 0
    np.minimum.at(boxes[:, 0], piece, runs.start)
    np.minimum.at(boxes[:, 1], piece, runs.row)
    np.maximum.at(boxes[:, 2], piece, runs.end)
    np.maximum.at(boxes[:, 3], piece, runs.row + 1)
    return boxes


def _window(occupied: np.ndarray, length: int) -> tuple[slice, np.ndarray]:
    """The occupied stretch of an axis with one line of margin on either side, and how many lines of the image each of
    its lines stands for: a margin stands for all that is empty beyond it."""
    first, last = int(occupied[0]), int(occupied[-1])
    start, stop = max(first - 1, 0), min(last + 2, length)
    weights = np.ones(stop - start, np.int64)
    if first > 0:
        weights[0] = first
    if last < length - 1:
        weights[-1] = length - 1 - last
    return slice(start, stop), weights


def _runs(mask: np.ndarray) -> _Runs:
    """Runs and their 8-connected pieces; a piece is numbered by its first run."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    # Runs of neighbouring rows touch, corners included, if start <= other's end both ways; a place in the image as one
    # number makes the touching runs of the next row a contiguous stretch of the sorted runs.
    stride = mask.shape[1] + 1
    below = (row + 1) * stride
    first = np.searchsorted(row * stride + end, below + start, "left")
    count = np.maximum(np.searchsorted(row * stride + start, below + end, "right") - first, 0)
    upper = np.repeat(np.arange(len(row)), count)
    lower = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
    piece = np.arange(len(row))
    while True:
        a, b = piece[upper], piece[lower]
        if (a == b).all():
            return _Runs(start, end, row, piece)
        np.minimum.at(piece, np.maximum(a, b), np.minimum(a, b))
        while (piece != piece[piece]).any():
            piece = piece[piece]


def _areas(runs: _Runs, row_weights: np.ndarray, column_weights: np.ndarray) -> np.ndarray:
    """Pixels of each piece, by its number (0 for the numbers of no piece)."""
    until = np.concatenate([[0], np.cumsum(column_weights)])
    pixels = (until[runs.end] - until[runs.start]) * row_weights[runs.row]
    areas = np.zeros(max(len(runs.piece), 1), np.int64)
    np.add.at(areas, runs.piece, pixels)
    return areas


def _paint(runs: _Runs, kept: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The pieces marked in ``kept``, as bool of the given shape."""
    chosen = kept[runs.piece]
    edges = np.zeros((shape[0], shape[1] + 1), np.int8)
    edges[runs.row[chosen], runs.start[chosen]] = 1
    edges[runs.row[chosen], runs.end[chosen]] = -1
    return np.cumsum(edges, 1, dtype=np.int8)[:, :-1].astype(bool)
