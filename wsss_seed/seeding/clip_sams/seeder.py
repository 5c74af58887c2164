"""The clip-sams seeder: prompts -> class activation maps -> attention affinity -> vote of mask proposals.

Source: FMA-WSSS, arXiv 2312.03585. This module only combines the steps; each is a function in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...config import flatten
from ...data.classes import IGNORE, ClassSet
from ...errors import ImageError
from ...proposals.store import Proposals
from ...types import LoadedSample, Seed
from .affinity import refine
from .cam import softmax_gradcam
from .pixel_seed import pixel_seed
from .prompts import Contexts, handwritten_features, prompt_features, prompt_names
from .sams import sams
from .settings import ClipSamsSettings

if TYPE_CHECKING:
    from ...models.clip import Clip

# Exponent of the background score of images without mask proposals: the plain complement.
_FALLBACK_EXPONENT = 1.0


class ClipSams:
    """Seeds images with image-level labels from CLIP's class activation maps and SAM's mask proposals.

    Args:
        class_set: the classes.
        clip: the model.
        proposals: returns the mask proposals of an image uint8 (H, W, 3).
        contexts: learned prompts; None for the hand-written sentences of CLIP-ES.
        settings: settings of one stage.
        record: further entries for ``settings`` that determine the seeds.
    """

    needs_boxes = False

    def __init__(
        self,
        class_set: ClassSet,
        clip: Clip,
        proposals: Callable[[np.ndarray], Proposals],
        contexts: Contexts | None,
        settings: ClipSamsSettings = ClipSamsSettings(),  # noqa: B008 - frozen
        record: Mapping[str, Any] | None = None,
    ):
        self.class_set = class_set
        self.settings: Mapping[str, Any] = {**(record or {}), **flatten(settings)}
        self._set = settings
        self._clip, self._proposals, self._contexts = clip, proposals, contexts

    @cached_property
    def _text(self) -> torch.Tensor:
        """Text features (G, D), classes first, then background."""
        with torch.no_grad():
            if self._contexts is None:
                return handwritten_features(self._clip, prompt_names(self.class_set))
            return prompt_features(self._clip, self._contexts)

    def cams(self, image: np.ndarray, classes: Sequence[int]) -> torch.Tensor:
        """Maps of the classes present, float32 (C, h, w) on the patch grid, refined according to the settings."""
        cam, affinity = self._set.cam, self._set.affinity
        blocks = affinity.attention_blocks if affinity.apply_to != "none" else 0
        tower = self._clip.encode_tokens(self._clip.prepare(image, self._set.max_side), blocks)
        labels = torch.zeros(1, len(self.class_set.names), dtype=torch.bool)
        labels[0, list(classes)] = True
        maps = softmax_gradcam(
            self._clip,
            tower,
            self._text,
            labels,
            weights=cam.weights,
            softmax=cam.softmax,
            scale=cam.logit_scale or self._clip.logit_scale,
        )
        if affinity.apply_to == "none":
            return maps
        assert tower.attention is not None
        return refine(
            maps,
            tower.attention[0],
            sinkhorn_iters=affinity.sinkhorn_iters,
            power=affinity.power,
            box_threshold=affinity.box_threshold,
            apply_to=affinity.apply_to,
            box_clip_quirk=affinity.box_clip_quirk,
        )

    def seed(self, loaded: LoadedSample) -> Seed:
        """The seed of an image.

        Raises:
            ImageError: an image without image-level labels, or with labels that the class set lacks.
        """
        image, sample, shape = loaded.image, loaded.sample, loaded.image.shape[:2]
        if sample.labels is None:
            raise ImageError(f"{sample.id}: no image-level labels; give `labels` a file, or take `backend` dino-sam")
        classes = tuple(sorted(set(sample.labels)))
        if classes and not 0 <= classes[0] <= classes[-1] < len(self.class_set.names):
            raise ImageError(f"{sample.id}: labels {classes}, outside class set '{self.class_set.name}'")
        if not classes:
            note = "no class present: all background"
            return Seed(np.zeros(shape, np.uint8), np.ones(shape, np.float32), (), {}, {}, (note,))
        maps, options = self.cams(image, classes), self._set.sams
        notes: list[str] = []
        evidence: dict[str, Any] = {}
        found = self._proposals(image) if options.vote else None
        if found is not None and len(found):
            voted = sams(
                maps, classes, found.masks, found.level, options.background_exponent, shape, options.max_area_ratio
            )
            labels, confidence = voted.labels, voted.confidence
            if options.margin > 0:
                ambiguous = (voted.margin < options.margin) & (confidence > 0)
                labels, confidence = np.where(ambiguous, IGNORE, labels), np.where(ambiguous, 0, confidence)
            evidence["masks"] = len(found)
        else:
            exponent = options.background_exponent
            if options.vote:
                exponent = _FALLBACK_EXPONENT
                notes.append("no mask proposals: labelled by the maps alone")
                evidence["masks"] = 0
            labels, confidence = pixel_seed(maps, classes, shape, exponent)
        missing = [self.class_set.names[c] for c in classes if not (labels == c + 1).any()]
        if missing:
            notes.append(f"no pixels for {', '.join(missing)}")
        scores = {c: round(float(confidence[labels == c + 1].max(initial=0)), 6) for c in classes}
        return Seed(labels.astype(np.uint8), confidence.astype(np.float32), classes, scores, evidence, tuple(notes))
