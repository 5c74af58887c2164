"""SAM in the box: one mask for each box, kept inside it and cleaned.

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

if TYPE_CHECKING:
    from ...models.masks import MaskModel

_LOGIT_PIXELS = 2**25  # of float32 logits held at once


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on a window of the image, so that many masks of a large photograph fit into memory.

    Attributes:
        x, y: upper left pixel of the window.
        mask: bool (h, w).
        probability: float16 (h, w), sigmoid of SAM's logits (before cleaning, also outside the mask).
        iou: SAM's predicted IoU; None where a model predicts none.
        sound: False where SAM's mask was dropped and ``mask`` is the core of the box instead.
    """

    x: int
    y: int
    mask: np.ndarray
    probability: np.ndarray
    iou: float | None
    sound: bool


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


def cut_masks(
    sam: MaskModel,
    embedding: Any,
    boxes: np.ndarray,
    shape: tuple[int, int],
    *,
    kind: str = "single",
    expand: float = 0.05,
    min_area: int = 100,
    min_cover: float = 0.05,
    min_iou: float = 0.50,
    core: float = 0.50,
) -> list[BoxMask]:
    """Cut out what SAM sees in each box.

    Args:
        sam: the model.
        embedding: the image, encoded once.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        kind: ``single`` (the decoder's dedicated single-mask token), ``multi_best`` (best predicted IoU of three) or
            ``multi_whole`` (the third of three, the whole object).
        expand: masks are cut off at their box, grown by this part of its width or height at each side.
        min_area: then holes and islands of fewer pixels are filled and removed.
        min_cover: a mask covering less than this of its box is dropped, and so is
        min_iou: one with a lower predicted IoU. In its place stands the core of the box.
        core: middle part of each side of the box that makes the core.
    """
    return trimmed(
        _logits(sam, embedding, boxes, shape, kind),
        boxes,
        shape,
        expand=expand,
        min_area=min_area,
        min_cover=min_cover,
        min_iou=min_iou,
        core=core,
    )


def trimmed(
    found: Iterable[tuple[Any, float | None]],
    boxes: np.ndarray,
    shape: tuple[int, int],
    *,
    expand: float,
    min_area: int,
    min_cover: float,
    min_iou: float,
    core: float,
) -> list[BoxMask]:
    """Masks kept inside their boxes and cleaned; see ``cut_masks`` for what the numbers mean.

    Args:
        found: for each box the logits, a tensor (H, W), and the predicted IoU, if there is one.
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        shape: height and width of the image.
        expand, min_area, min_cover, min_iou, core: as in ``cut_masks``.
    """
    result = []
    for box, (logits, iou) in zip(boxes, found, strict=True):
        x0, y0, x1, y1 = pixel_window(grow(box, expand), shape)
        inside = logits[y0:y1, x0:x1]
        whole = np.zeros(shape, bool)
        whole[y0:y1, x0:x1] = (inside > 0).cpu().numpy()
        mask = fill_and_clean(whole, min_area)[y0:y1, x0:x1].copy()  # a view would keep the whole alive
        box_area = float((box[2] - box[0]) * (box[3] - box[1]))
        if mask.sum() >= min_cover * box_area and mask.any() and (iou is None or iou >= min_iou):
            result.append(BoxMask(x0, y0, mask, inside.sigmoid().half().cpu().numpy(), iou, True))
        else:
            x0, y0, x1, y1 = pixel_window(grow(box, (core - 1) / 2), shape)
            size = (y1 - y0, x1 - x0)
            result.append(BoxMask(x0, y0, np.ones(size, bool), np.ones(size, np.float16), iou, False))
    return result


def _logits(
    sam: MaskModel, embedding: Any, boxes: np.ndarray, shape: tuple[int, int], kind: str
) -> Iterator[tuple[Any, float]]:
    """For each box the logits, a tensor (H, W), of the mask that ``kind`` names, and its predicted IoU."""
    low_res, iou = sam.decode_boxes(embedding, boxes, multimask=kind != "single")
    ious = to_numpy(iou)
    chosen = ious.argmax(1) if kind == "multi_best" else np.full(len(boxes), 2 if kind == "multi_whole" else 0)
    step = max(1, _LOGIT_PIXELS // (shape[0] * shape[1]))
    for start in range(0, len(boxes), step):
        rows = range(start, min(start + step, len(boxes)))
        full = sam.logits(embedding, low_res[list(rows), chosen[start : start + step].tolist()])
        for i, logits in zip(rows, full, strict=True):
            yield logits, float(ious[i, chosen[i]])
