"""Interface of promptable segmentation models: an image is encoded once, then decoded for boxes and points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from .upsample import Window


class BoxMasks(NamedTuple):
    """Decoded masks of n boxes, M masks each, on the device of the model.

    Attributes:
        low_res: float32 (n, M, h, w) mask logits on the decoder's grid; positive inside a mask.
        iou: float32 (n, M) predicted IoU of each mask.
    """

    low_res: torch.Tensor
    iou: torch.Tensor


class PointMasks(Protocol):
    """Decoded masks of n points, three per point: sub-part, part and whole."""

    @property
    def iou(self) -> torch.Tensor:
        """float32 (n, 3) predicted IoU of each mask."""
        ...

    def low_res(self, chosen: torch.Tensor) -> torch.Tensor:
        """Logits float32 (k, h, w) on the decoder's grid of the masks selected by ``chosen``, bool (n, 3)."""
        ...


class MaskModel(Protocol):
    """A frozen promptable segmentation model; see ``models.sam.Sam`` for the methods."""

    name: str
    device: torch.device

    def embed(self, image: np.ndarray) -> Any: ...

    def decode_boxes(
        self, embedding: Any, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks: ...

    def decode_points(self, embedding: Any, points: np.ndarray, chunk: int = 64) -> Iterable[PointMasks]: ...

    def decode_prompt(
        self, embedding: Any, points: np.ndarray, positive: np.ndarray, box: np.ndarray | None = None
    ) -> BoxMasks: ...

    def upsampled_windows(self, embedding: Any, low_res: torch.Tensor, floor: float) -> Iterable[Window]: ...

    def logits(self, embedding: Any, low_res: torch.Tensor) -> torch.Tensor: ...


def checked_prompt(points: np.ndarray, positive: np.ndarray, box: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Points float (n, 2) and whether each is on the object, bool (n,). Raises ValueError without points and box."""
    points, positive = np.asarray(points, float).reshape(-1, 2), np.asarray(positive, bool).reshape(-1)
    if not len(points) and box is None:
        raise ValueError("a prompt needs points or a box")
    return points, positive
