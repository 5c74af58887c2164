"""Box-prompted segmentation: one mask per box, clipped to the box and cleaned.

Sources: SAM (arXiv 2304.02643), prompted with boxes as in the paper behind dino-sam (arXiv 2405.06586). The rules for
clipping and dropping masks are our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...proposals.regions import fill_and_clean
from .classification import to_numpy
from .settings import MaskSettings

if TYPE_CHECKING:
    import torch

    from ...models.masks import MaskModel

_LOGIT_PIXELS = 2**25  # upper limit of float32 logits in memory at once

_VOC_SIDE = 500  # longer side of VOC's images in pixels

CORE = 0.50
"""Central share of each side of a box; this core becomes ambiguous if the mask is dropped."""


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask within a window of the image, so that many masks of a large image fit into memory.

    Attributes:
        x, y: upper left pixel of the window.
        mask: bool (h, w).
        probability: float16 (h, w), sigmoid of the mask logits, before cleaning and also outside the mask.
        iou: predicted IoU; None if the model does not predict it.
        valid: False if the mask was dropped and replaced by the core of the box.
    """

    x: int
    y: int
    mask: np.ndarray
    probability: np.ndarray
    iou: float | None
    valid: bool


def grow(box: np.ndarray, part: float) -> np.ndarray:
    """A box x0 y0 x1 y1 expanded by ``part`` of its width or height at each side, or shrunk if negative."""
    x0, y0, x1, y1 = box.astype(np.float64)
    dx, dy = part * (x1 - x0), part * (y1 - y0)
    return np.array([x0 - dx, y0 - dy, x1 + dx, y1 + dy])


def pixel_window(box: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixel range x0 y0 x1 y1 (ends excluded) whose centres lie in a box; at least one pixel wide and high."""
    window = []
    for low, high, size in ((box[0], box[2], shape[1]), (box[1], box[3], shape[0])):
        start, stop = (int(np.clip(np.ceil(v - 0.5), 0, size)) for v in (low, high))
        if stop <= start:
            start = int(np.clip(low, 0, size - 1))
            stop = start + 1
        window.append((start, stop))
    (x0, x1), (y0, y1) = window
    return x0, y0, x1, y1


def trim_masks(
    found: Iterable[tuple[torch.Tensor, float | None]],
    boxes: np.ndarray,
    shape: tuple[int, int],
    settings: MaskSettings,
    pred_iou_thresh: float = 0.0,
) -> list[BoxMask]:
    """Clip masks to their boxes and clean them; a dropped mask is replaced by the core of its box.

    Args:
        found: logits (H, W) per box, on the CPU, and the predicted IoU, if any.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        settings: clipping margin, cleaning and minimum coverage.
        pred_iou_thresh: masks with a lower predicted IoU are dropped.
    """
    result = []
    for box, (logits, iou) in zip(boxes, found, strict=True):
        kept = None if iou is not None and iou < pred_iou_thresh else trimmed((logits > 0).numpy(), box, settings)
        x, y, mask = kept or core(box, shape)
        if kept is None:
            probability = np.ones(mask.shape, np.float16)
        else:
            probability = logits[y : y + mask.shape[0], x : x + mask.shape[1]].sigmoid().half().numpy()
        result.append(BoxMask(x, y, mask, probability, iou, kept is not None))
    return result


def trimmed(above: np.ndarray, box: np.ndarray, settings: MaskSettings) -> tuple[int, int, np.ndarray] | None:
    """A mask clipped to its box and cleaned.

    Args:
        above: bool (H, W), the pixels of the image with a logit above 0.
        box: float32 (4,) x0 y0 x1 y1 in pixels.
        settings: clipping margin, cleaning and minimum coverage.

    Returns:
        The upper left pixel x, y of a window and the mask bool (h, w) in it; None if it covers too little of the box.
    """
    shape = above.shape[0], above.shape[1]
    x0, y0, x1, y1 = pixel_window(grow(box, settings.box_expand), shape)
    whole = np.zeros(shape, bool)
    whole[y0:y1, x0:x1] = above[y0:y1, x0:x1]
    mask = fill_and_clean(whole, region_area_limit(settings.min_region_area, shape))[y0:y1, x0:x1]
    covered = mask.sum() >= settings.min_box_coverage * float((box[2] - box[0]) * (box[3] - box[1]))
    return (x0, y0, mask.copy()) if covered and mask.any() else None  # a view would keep all of it


def core(box: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    """The core of a box, in place of a dropped mask: x, y and a mask as from ``trimmed``."""
    x0, y0, x1, y1 = pixel_window(grow(box, (CORE - 1) / 2), shape)
    return x0, y0, np.ones((y1 - y0, x1 - x0), bool)


def region_area_limit(pixels: int, shape: tuple[int, int]) -> int:
    """``mask.min_region_area`` for an image (H, W), in its pixels.

    SAM computes masks at a fixed resolution, so that the same hole has more pixels in a larger image. Up to the size of
    VOC's images the limit is ``pixels``; beyond, it grows with the square of the longer side.
    """
    return round(pixels * max(1.0, max(shape) / _VOC_SIDE) ** 2)


def mask_logits(
    sam: MaskModel, embedding: Any, boxes: np.ndarray, shape: tuple[int, int], output: str
) -> Iterator[tuple[torch.Tensor, float]]:
    """Per box, the logits (H, W) of SAM's mask, on the CPU, and its predicted IoU.

    Args:
        sam: the model.
        embedding: image embedding.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        output: which of its masks; see ``SamSettings.output``.
    """
    low_res, iou = sam.decode_boxes(embedding, boxes, multimask=output != "single")
    ious = to_numpy(iou)
    chosen = ious.argmax(1) if output == "best" else np.full(len(boxes), 2 if output == "whole" else 0)
    step = max(1, _LOGIT_PIXELS // (shape[0] * shape[1]))
    for start in range(0, len(boxes), step):
        rows = range(start, min(start + step, len(boxes)))
        full = sam.logits(embedding, low_res[list(rows), chosen[start : start + step].tolist()]).cpu()  # all at once
        for i, logits in zip(rows, full, strict=True):
            yield logits, float(ious[i, chosen[i]])
