"""The settings of dino-sam: those of detection, and of Grounding DINO's captions and SAM's masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...models.detector import ScoreMap
from ..detection.settings import DetectionSettings, DetectorSettings, SamSettings


@dataclass(frozen=True)
class GroundingDinoSettings(DetectorSettings):
    """Grounding DINO's captions and scores.

    Attributes:
        caption: ``joint`` (one caption of all classes, which then compete) or ``per_class``.
        phrase_score: how token probabilities become a class's score: ``span_mean_max`` (the best phrase's mean, as in
            Grounding DINO's evaluation on COCO) or ``best_token`` (the best single token, as in published pseudo-label
            code).
    """

    caption: Literal["joint", "per_class"] = "joint"
    phrase_score: ScoreMap = "span_mean_max"


@dataclass(frozen=True)
class Settings(DetectionSettings):
    """All settings of dino-sam.

    Attributes:
        mode: ``label_given``, ``label_free``, ``boxes_given`` (ground-truth boxes, to bound SAM's error), or ``auto``
            (given where the labels of an image are known, else free).
    """

    OWNER: ClassVar[str] = "dino-sam"
    DETECTOR: ClassVar[str] = "detector"

    mode: Literal["auto", "label_given", "label_free", "boxes_given"] = "auto"
    detector: GroundingDinoSettings = field(default_factory=GroundingDinoSettings)
    mask: SamSettings = field(default_factory=SamSettings)
