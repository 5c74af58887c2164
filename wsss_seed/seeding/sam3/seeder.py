"""The sam3 seeder: SAM 3 (arXiv 2511.16719) finds and segments objects in one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...data.classes import ClassSet
from ...models.detector import Queries, merged
from ..detection.detections import Detections
from ..detection.seeder import DetectionSeeder
from .settings import Settings

if TYPE_CHECKING:
    from ...models.clip import Clip
    from ...models.sam3 import Sam3, Sam3Embedding


class Sam3Seeder(DetectionSeeder):
    """Seeds images by SAM 3, one phrase at a time; CLIP proposes the classes and verifies each object on its crop.

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
        super().__init__(class_set, clip, settings)
        self._sam3, self._masks = sam3, settings.mask
        scores = settings.thresholds
        self._lowest_score = min(
            scores.rescue_threshold,
            scores.fallback_threshold,
            float(self._box_threshold.min()),
            float(self._score_floor.min()),
        )
        self._seen: tuple[Sam3Embedding, torch.Tensor] | None = None  # the last image and its masks

    def _detect_phrases(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        """Each phrase by itself, without objects too weak to count for anything."""
        embedding = self._sam3.embed(image)
        parts: list[Queries] = []
        masks: list[torch.Tensor] = []
        for c, own in enumerate(phrases):
            for phrase in own:
                found = self._sam3.ask(embedding, phrase, self._lowest_score)
                scores = np.zeros((len(found.scores), len(phrases)), np.float32)
                scores[:, c] = found.scores
                parts.append(Queries(found.boxes, found.scores, scores))
                masks.append(found.low_res)
        self._seen = embedding, torch.cat(masks or [torch.empty(0, 1, 1)])
        return merged(parts, len(phrases))

    def _mask_logits(self, image: np.ndarray, d: Detections) -> Iterator[tuple[torch.Tensor, float | None]]:
        """The masks that came with the boxes."""
        assert self._seen is not None
        embedding, masks = self._seen
        for logits in self._sam3.logits(embedding, masks[torch.from_numpy(d.query).to(masks.device)]):
            yield logits.cpu(), None
