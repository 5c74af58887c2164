"""The dino-sam seeder: Grounding DINO finds the boxes, SAM segments them (arXiv 2405.06586)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...data.classes import ClassSet
from ..detection.box_masks import mask_logits
from ..detection.detections import Detections
from ..detection.seeder import DetectionSeeder
from .settings import Settings

if TYPE_CHECKING:
    import torch

    from ...models.clip import Clip
    from ...models.detector import Detector, Queries
    from ...models.masks import MaskModel


class DinoSam(DetectionSeeder):
    """Seeds images by classification, detection and box-prompted segmentation, all three models frozen.

    Args:
        class_set: the classes to find.
        clip, sam, detector: the models.
        settings: thresholds and policies.

    Raises:
        WsssError: the class set's own thresholds do not fit.
    """

    def __init__(
        self,
        class_set: ClassSet,
        clip: Clip,
        sam: MaskModel,
        detector: Detector,
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ):
        super().__init__(class_set, clip, settings)
        self.joint = settings.detector.caption == "joint"
        self._sam, self._detector = sam, detector
        self._phrase_score, self._output = settings.detector.phrase_score, settings.mask.output
        self._masks, self._least_iou = settings.mask, settings.mask.pred_iou_thresh

    def _detect_phrases(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        return self._detector.detect(image, phrases, joint=joint, score=self._phrase_score)

    def _mask_logits(self, image: np.ndarray, d: Detections) -> Iterator[tuple[torch.Tensor, float | None]]:
        return mask_logits(self._sam, self._sam.embed(image), d.boxes, image.shape[:2], self._output)
