"""The settings of dino-sam: those of detection, and of Grounding DINO's captions and SAM's masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

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


PRESETS: dict[str, dict[str, Any]] = {
    "plain": {
        "assume_present": "no",
        "clip.decision": "none",
        "clip.distractors": 0,
        "detector.phrase_score": "best_token",
        "detector.ambiguous_threshold": 0.30,
        "detector.rescue_threshold": 1.0,
        "nms.cross_class_iou_threshold": 1.0,
        "box.min_side": 0,
        "box.min_area": 0.0,
        "box.large_threshold": 0.0,
        "verify.enabled": False,
        "mask.box_expand": 1.0,
        "mask.min_region_area": 0,
        "mask.min_box_coverage": 0.0,
        "mask.pred_iou_thresh": 0.0,
        "fusion.order": "detector",
        "fusion.iou_threshold": 1.0,
        "ignore.confident_threshold": 0.0,
        "ignore.confident_threshold_label_free": 0.0,
    },
}
"""Recipes by name. ``plain`` is the baseline to compare with, the pipeline of Sun et al. (arXiv 2305.01586): one
caption of all classes, boxes above 0.30, SAM's single mask of each, painted in the order of the detector; without
CLIP."""
