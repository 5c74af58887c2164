"""Typical answers in place of those of models with random weights.

How long a model takes does not depend on the values of its weights, but how much there is to do afterwards depends on
its answers: random ones contain no object, or hundreds. Here the models run as ever, and only their answers are
replaced, so that the steps that follow process a typical photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .detector import Queries
from .masks import BoxMasks
from .upsample import Steps

OBJECTS = 12
"""Number of boxes that a detector finds in an image."""

CLASSES = 3
"""Number of classes that it finds them of."""

_BEST, _WORST = 0.9, 0.5  # scores of the boxes, all above the default thresholds
_CELLS, _RADII = 8, (1 / 20, 1 / 10, 1 / 5)  # centres and radii of the masks of points, in parts of the grid
_STEEP = 100.0  # slope of logits; masks are stable


def answer_typically(role: str, model: Any) -> None:
    """Give a model typical answers; nothing for CLIP, whose answers do not matter then.

    Args:
        role: ``clip``, ``sam`` or ``detector``.
        model: the ``Clip``, ``MaskModel`` or ``Detector``; its methods are replaced, those of its class are not.
    """
    if role == "detector":
        model.detect = typical_detect(model.detect)
    elif role == "sam":
        model.decode_boxes = typical_decode_boxes(model.decode_boxes)
        model.decode_points = typical_decode_points(model.decode_points)


def typical_detect(detect: Callable[..., Queries]) -> Callable[..., Queries]:
    """``Detector.detect``, with 12 boxes of the first three classes as its answer, whatever the image shows."""

    def answer(image: np.ndarray, phrases: Sequence[Sequence[str]], **options: Any) -> Queries:
        detect(image, phrases, **options)
        count = OBJECTS if phrases else 0
        scores = np.linspace(_BEST, _WORST, OBJECTS, dtype=np.float32)[:count]
        class_scores = np.zeros((count, len(phrases)), np.float32)
        rows = np.arange(count)
        class_scores[rows, rows % max(1, min(CLASSES, len(phrases)))] = scores
        return Queries(_boxes(image.shape[0], image.shape[1])[:count], scores, class_scores)

    return answer


def _boxes(height: int, width: int) -> np.ndarray:
    """Twelve overlapping boxes, float32 (12, 4) x0 y0 x1 y1 in pixels of an image."""
    left, top = np.meshgrid(np.arange(4) * 0.2, np.arange(3) * 0.25)
    corners = np.stack([left, top, left + 0.35, top + 0.4], -1).reshape(-1, 4)
    return (corners * [width, height, width, height]).astype(np.float32)


def typical_decode_boxes(decode: Callable[..., BoxMasks]) -> Callable[..., BoxMasks]:
    """``MaskModel.decode_boxes``, with an ellipse in each box as its answer."""

    def answer(embedding: Any, boxes: np.ndarray, **options: Any) -> BoxMasks:
        found = decode(embedding, boxes, **options)
        grid = found.low_res.shape[-2], found.low_res.shape[-1]
        on_grid = torch.from_numpy(_on_grid(np.asarray(boxes, float).reshape(-1, 4), embedding.steps, grid))
        x0, y0, x1, y1 = on_grid.to(found.low_res).unbind(1)
        masks = _ellipses((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, grid)
        return BoxMasks(masks[:, None].expand_as(found.low_res).contiguous(), torch.full_like(found.iou, _BEST))

    return answer


def _on_grid(boxes: np.ndarray, steps: Steps, grid: tuple[int, int]) -> np.ndarray:
    """Boxes in pixels of the image as boxes on the decoder's grid; the inverse of ``upsample.upsampled``."""
    before = [grid, *(kept for _, kept in steps[:-1])]
    for (height, width), (to, _) in zip(reversed(before), reversed(steps), strict=True):
        boxes = boxes * ([width / to[1], height / to[0]] * 2)
    return boxes


def typical_decode_points(decode: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """``MaskModel.decode_points``, with random predicted IoUs and with discs as its answer: about one mask in six
    passes the filters of predicted IoU, and many are duplicates."""
    random = torch.Generator().manual_seed(0)

    def answer(embedding: Any, points: np.ndarray, **options: Any) -> Iterator[_Discs]:
        for found in decode(embedding, points, **options):
            iou = torch.rand(found.iou.shape, generator=random).to(found.iou)
            yield _Discs(iou, found.low_res, random)

    return answer


@dataclass(frozen=True)
class _Discs:
    """See ``models.masks.PointMasks``."""

    iou: Tensor
    decode: Callable[[Tensor], Tensor]
    random: torch.Generator

    def low_res(self, chosen: Tensor) -> Tensor:
        found = self.decode(chosen)
        count, (height, width) = len(found), found.shape[-2:]
        x, y = ((torch.randint(_CELLS, (count,), generator=self.random) + 0.5) / _CELLS for _ in range(2))
        radius = torch.tensor(_RADII)[torch.randint(len(_RADII), (count,), generator=self.random)]
        x, y, across, down = (part.to(found) for part in (x * width, y * height, radius * width, radius * height))
        return _ellipses(x, y, across, down, (height, width))


def _ellipses(x: Tensor, y: Tensor, across: Tensor, down: Tensor, grid: tuple[int, int]) -> Tensor:
    """Logits float32 (n, h, w) of ellipses with centres and half axes (n,) on a grid."""
    rows = torch.arange(grid[0], device=x.device)[:, None] + 0.5
    columns = torch.arange(grid[1], device=x.device) + 0.5
    x, y, across, down = (v[:, None, None] for v in (x, y, across.clamp(min=0.5), down.clamp(min=0.5)))
    return _STEEP * (1 - ((columns - x) / across) ** 2 - ((rows - y) / down) ** 2)
