"""Promptable segmentation behind one interface: an image is encoded once, then boxes and points become masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from .upsample import Window


class BoxMasks(NamedTuple):
    """What the decoder answers to n boxes, M masks each, on the model's device.

    Attributes:
        low_res: float32 (n, M, h, w) mask logits on the decoder's grid; a pixel belongs to a mask above 0.
        iou: float32 (n, M) predicted IoU of each mask with what was asked for.
    """

    low_res: torch.Tensor
    iou: torch.Tensor


class PointMasks(Protocol):
    """What a decoder answers to n points: three masks each, in the order sub-part, part, whole."""

    @property
    def iou(self) -> torch.Tensor:
        """float32 (n, 3) predicted IoU of each mask."""
        ...

    def low_res(self, chosen: torch.Tensor) -> torch.Tensor:
        """Logits float32 (k, h, w) on the decoder's grid of the masks ``chosen`` bool (n, 3), point by point."""
        ...


class MaskModel(Protocol):
    """A frozen promptable segmenter; ``models.sam.Sam`` says what its methods take and give."""

    name: str
    device: torch.device

    def embed(self, image: np.ndarray) -> Any: ...

    def decode_boxes(
        self, embedding: Any, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks: ...

    def decode_points(self, embedding: Any, points: np.ndarray, chunk: int = 64) -> Iterable[PointMasks]: ...

    def upsampled_windows(self, embedding: Any, low_res: torch.Tensor, floor: float) -> Iterable[Window]: ...

    def logits(self, embedding: Any, low_res: torch.Tensor) -> torch.Tensor: ...
