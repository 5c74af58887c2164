"""Boxes and run lengths of masks, computed where the masks are, so that no pixel of them leaves a GPU.

Run lengths are those of COCO, which count pixels column by column: a mask is stored as the pixels at which it begins
and ends in that order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torch.nn import functional as F

from ..models.upsample import ends


def window_boxes(masks: Tensor, top: int, left: int) -> Tensor:
    """Bounding boxes of non-empty masks bool (n, h, w) in a window: int64 (n, 4) x0 y0 x1 y1, the last two inclusive.

    Args:
        masks: the masks.
        top, left: position of the window, which is added to the boxes.
    """
    (x0, x1), (y0, y1) = ends(masks.any(1)), ends(masks.any(2))
    return torch.stack([left + x0, top + y0, left + x1 - 1, top + y1 - 1], 1)


def changes(masks: Tensor, top: int, left: int, height: int) -> tuple[Tensor, Tensor]:
    """Where masks bool (n, h, w) in a window begin and end, in column-major order of the image.

    Args:
        masks: the masks.
        top, left: position of the window in the image, in pixels.
        height: height of the image.

    Returns:
        Pixels int32 (N,) of the image at which a column of a mask begins or ends, ascending, mask after mask; and how
        many of them each mask has, int64 (n,).
    """
    edges = F.pad(masks, (0, 0, 1, 1))
    changed = edges[:, 1:] != edges[:, :-1]
    mask, y, x = changed.nonzero().unbind(1)
    pixels = height * (left + masks.shape[2]) + 1
    # Sorting the few changes is faster than transposing the masks.
    at = (mask * pixels + (x + left) * height + y + top).sort().values % pixels
    return at.int(), changed.flatten(1).sum(1)


def encoded(at: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed RLE of a mask.

    Args:
        at: pixels int (N,) at which the mask begins and ends, see ``changes``.
        size: height and width of the image.
    """
    height, width = size
    joint = np.flatnonzero(np.diff(at) == 0)  # a column ends at the bottom of the image, the next begins at its top
    at = np.delete(at, np.concatenate([joint, joint + 1]))
    runs = np.diff(at, prepend=0, append=height * width).tolist()
    if at.size and not runs[-1]:
        runs.pop()
    found: dict[str, Any] = rle.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return found
