"""The sam3 seeder: dino-sam's pipeline round a model that finds and cuts out objects in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...config import flatten
from ...data.classes import ClassSet
from ...models.detector import Queries, merged
from ..detection.box_masks import BoxMask, trimmed
from ..detection.detections import Detections
from ..dino_sam.seeder import GatedSeeder
from .settings import Settings, as_dino_sam, thresholds_as_dino_sam

if TYPE_CHECKING:
    from ...models.clip import Clip
    from ...models.sam3 import Sam3, Sam3Embedding


class SamText(GatedSeeder):
    """Seeds images by SAM 3, one phrase at a time, with CLIP's word on what there is.

    Modes: ``label_given`` (image-level labels are known; every given class keeps at least its best object),
    ``label_free`` (CLIP proposes the classes, objects and crops prune them), and ``auto``.

    Args:
        class_set: the classes to find.
        clip, sam3: the models.
        settings: thresholds and policies.

    Raises:
        WsssError: the class set's own thresholds do not fit.
    """

    def __init__(
        self,
        class_set: ClassSet,
        clip: Clip,
        sam3: Sam3,
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ):
        own = replace(class_set, thresholds=thresholds_as_dino_sam(class_set, settings))
        super().__init__(own, clip, as_dino_sam(settings))
        self.settings = flatten(settings)
        self._sam3 = sam3
        thresholds = ("gd.box_thr", "gd.low_thr")
        text = settings.text
        self._least = min(text.rescue_thr, text.fallback_thr, *(float(self._thr[key].min()) for key in thresholds))
        self._seen: tuple[Sam3Embedding, torch.Tensor] | None = None  # the image asked about last, and its masks

    def _ask(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        """Each phrase by itself, of which objects too weak to count for anything are left out."""
        embedding = self._sam3.embed(image)
        parts: list[Queries] = []
        masks = [torch.empty(0, 1, 1)]
        for c, own in enumerate(phrases):
            for phrase in own:
                found = self._sam3.ask(embedding, phrase, self._least)
                scores = np.zeros((len(found.scores), len(phrases)), np.float32)
                scores[:, c] = found.scores
                parts.append(Queries(found.boxes, found.scores, scores))
                masks.append(found.low_res)
        self._seen = embedding, torch.cat(masks[1:] or masks)
        return merged(parts, len(phrases))

    def _cut(self, image: np.ndarray, found: Detections) -> list[BoxMask]:
        """The masks that came with the boxes."""
        assert self._seen is not None
        (embedding, masks), s = self._seen, self._set.sam
        logits = self._sam3.logits(embedding, masks[torch.from_numpy(found.query).to(masks.device)])
        return trimmed(
            ((mask, None) for mask in logits),
            found.boxes,
            image.shape[:2],
            expand=s.clip_box_expand,
            min_area=s.min_area,
            min_cover=s.min_cover,
            min_iou=s.min_iou,
            core=s.core,
        )
