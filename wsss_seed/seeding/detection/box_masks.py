"""Box-prompted segmentation: one mask for each box, cut off at it and cleaned.

Sources: SAM (arXiv 2304.02643), used inside boxes as in dino-sam's paper (arXiv 2405.06586). How far a mask may leave
its box and which masks are dropped is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...proposals.regions import fill_and_clean
from .classification import to_numpy
from .settings import MaskSettings, SamSettings

if TYPE_CHECKING:
    import torch

    from ...models.masks import MaskModel

_LOGIT_PIXELS = 2**25  # of float32 logits held at once

CORE = 0.50
"""Middle part of each side of a box that becomes ambiguous in place of a dropped mask."""


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on a window of the image, so that many masks of a large photograph fit into memory.

    Attributes:
        x, y: upper left pixel of the window.
        mask: bool (h, w).
        probability: float16 (h, w), sigmoid of SAM's logits (before cleaning, also outside the mask).
        iou: SAM's predicted IoU; None where a model predicts none.
        valid: False where SAM's mask was dropped and ``mask`` is the core of the box instead.
    """

    x: int
    y: int
    mask: np.ndarray
    probability: np.ndarray
    iou: float | None
    valid: bool


def grow(box: np.ndarray, part: float) -> np.ndarray:
    """A box x0 y0 x1 y1 moved outwards by ``part`` of its width or height at each side (inwards where negative)."""
    x0, y0, x1, y1 = box.astype(np.float64)
    dx, dy = part * (x1 - x0), part * (y1 - y0)
    return np.array([x0 - dx, y0 - dy, x1 + dx, y1 + dy])


def pixel_window(box: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels x0 y0 x1 y1 (ends excluded) whose centres lie in a box, at least one each way."""
    window = []
    for low, high, size in ((box[0], box[2], shape[1]), (box[1], box[3], shape[0])):
        start, stop = (int(np.clip(np.ceil(v - 0.5), 0, size)) for v in (low, high))
        if stop <= start:
            start = int(np.clip(low, 0, size - 1))
            stop = start + 1
        window.append((start, stop))
    (x0, x1), (y0, y1) = window
    return x0, y0, x1, y1


def predict_box_masks(
    sam: MaskModel, embedding: Any, boxes: np.ndarray, shape: tuple[int, int], settings: SamSettings
) -> list[BoxMask]:
    """SAM's mask of each box.

    Args:
        sam: the model.
        embedding: the image, encoded once.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        settings: which of SAM's masks, and what is done to it.
    """
    found = _logits(sam, embedding, boxes, shape, settings.output)
    return trim_masks(found, boxes, shape, settings, settings.pred_iou_thresh)


def trim_masks(
    found: Iterable[tuple[torch.Tensor, float | None]],
    boxes: np.ndarray,
    shape: tuple[int, int],
    settings: MaskSettings,
    pred_iou_thresh: float = 0.0,
) -> list[BoxMask]:
    """Masks cut off at their boxes and cleaned; in place of a mask that is dropped stands the core of its box.

    Args:
        found: for each box the logits (H, W), and the predicted IoU, if there is one.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        settings: how far a mask may leave its box, and when it is dropped.
        pred_iou_thresh: a mask with a lower predicted IoU is dropped too.
    """
    result = []
    for box, (logits, iou) in zip(boxes, found, strict=True):
        x0, y0, x1, y1 = pixel_window(grow(box, settings.box_expand), shape)
        inside = logits[y0:y1, x0:x1]
        whole = np.zeros(shape, bool)
        whole[y0:y1, x0:x1] = (inside > 0).cpu().numpy()
        mask = fill_and_clean(whole, settings.min_region_area)[y0:y1, x0:x1].copy()  # a view would keep all of it
        covered = mask.sum() >= settings.min_box_coverage * float((box[2] - box[0]) * (box[3] - box[1]))
        if covered and mask.any() and (iou is None or iou >= pred_iou_thresh):
            result.append(BoxMask(x0, y0, mask, inside.sigmoid().half().cpu().numpy(), iou, True))
        else:
            x0, y0, x1, y1 = pixel_window(grow(box, (CORE - 1) / 2), shape)
            size = (y1 - y0, x1 - x0)
            result.append(BoxMask(x0, y0, np.ones(size, bool), np.ones(size, np.float16), iou, False))
    return result


def _logits(
    sam: MaskModel, embedding: Any, boxes: np.ndarray, shape: tuple[int, int], output: str
) -> Iterator[tuple[torch.Tensor, float]]:
    """For each box the logits (H, W) of the mask that ``output`` names, and its predicted IoU."""
    low_res, iou = sam.decode_boxes(embedding, boxes, multimask=output != "single")
    ious = to_numpy(iou)
    chosen = ious.argmax(1) if output == "best" else np.full(len(boxes), 2 if output == "whole" else 0)
    step = max(1, _LOGIT_PIXELS // (shape[0] * shape[1]))
    for start in range(0, len(boxes), step):
        rows = range(start, min(start + step, len(boxes)))
        full = sam.logits(embedding, low_res[list(rows), chosen[start : start + step].tolist()])
        for i, logits in zip(rows, full, strict=True):
            yield logits, float(ious[i, chosen[i]])
