"""The settings that dino-sam and sam3 share, with their defaults and the values they may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from ...config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, flatten, override
from ...data.classes import ClassSet
from ...errors import DataError, unknown_name

TEMPLATES = (
    "a photo of a {}.",
    "a bad photo of the {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a close-up photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of many {}.",
    "there is a {} in the scene.",
)


@dataclass(frozen=True)
class ClipSettings:
    """Label-free classification, and the scale of every CLIP softmax.

    Attributes:
        templates: prompt templates of the text features, ``{}`` standing for the phrase.
        logit_scale: factor of the cosine similarities; belongs to the weights (100 for OpenAI's).
        grids: local views beside the global one; g adds g x g half-overlapping windows.
        local_weight: weight of the best local view in the ranking score; the global view has the rest.
        global_threshold: a class whose probability in the global view reaches this is a candidate.
        local_threshold: a class whose probability in any local view reaches this is a candidate.
        max_candidates: most candidates per image; 0 takes the class set's number.
        decision: what decides which classes are present: ``detector`` (a candidate needs a surviving box) or
            ``classifier`` (CLIP's scores alone, by TagCLIP's relative rule; an ablation).
    """

    templates: tuple[str, ...] = TEMPLATES
    logit_scale: NonNegativeFloat = 100.0
    grids: tuple[PositiveInt, ...] = (2, 3)
    local_weight: UnitInterval = 0.5
    global_threshold: UnitInterval = 0.10
    local_threshold: UnitInterval = 0.25
    max_candidates: NonNegativeInt = 0
    decision: Literal["detector", "classifier"] = "detector"


@dataclass(frozen=True)
class DetectorSettings:
    """Score thresholds of the model that finds boxes.

    Attributes:
        part_phrases: also detect the class set's part phrases.
        box_threshold: a box above this score is confident: it may paint its class.
        ambiguous_threshold: a box from this score on may at least make pixels ambiguous.
        rescue_threshold: lowest score of the best box of a given class that has no confident one.
        fallback_threshold: lowest score of the one box kept where no label-free candidate survives.
    """

    part_phrases: bool = False
    box_threshold: UnitInterval = 0.30
    ambiguous_threshold: UnitInterval = 0.20
    rescue_threshold: UnitInterval = 0.15
    fallback_threshold: UnitInterval = 0.20


@dataclass(frozen=True)
class NmsSettings:
    """Non-maximum suppression of boxes.

    Attributes:
        iou_threshold: of two boxes of one class with a higher IoU the weaker is dropped.
        cross_class_iou_threshold: of two boxes of different classes with at least this IoU the weaker is dropped.
    """

    iou_threshold: UnitInterval = 0.70
    cross_class_iou_threshold: UnitInterval = 0.90


@dataclass(frozen=True)
class BoxSettings:
    """Geometry of acceptable boxes.

    Attributes:
        min_side: shortest acceptable side in pixels.
        min_area: smallest acceptable share of the image (0.0002 suits VOC, 0.0001 COCO).
        max_area: a box that covers a larger share of the image is a large box.
        large_threshold: a large box with a lower score is doubtful.
        max_detections: most boxes per image, the best ones.
    """

    min_side: NonNegativeInt = 4
    min_area: UnitInterval = 0.0002
    max_area: UnitInterval = 0.95
    large_threshold: UnitInterval = 0.40
    max_detections: PositiveInt = 100


@dataclass(frozen=True)
class VerifySettings:
    """Verification of each box by CLIP on its crop.

    Attributes:
        enabled: verify boxes at all.
        context: context added at each side, as a share of the box's width or height.
        min_side: boxes with a shorter side in pixels are not verified.
        accept_threshold: crop probability that accepts a box.
        accept_top_k: a box whose class is among CLIP's k best foreground classes is accepted as well.
        relabel_threshold: crop probability of another candidate class from which the box is relabelled ...
        relabel_below: ... where the crop probability of the box's own class stays below this.
        weight: exponent of the crop probability in the combined score; the detector's score has the rest.
    """

    enabled: bool = True
    context: UnitInterval = 0.10
    min_side: NonNegativeInt = 32
    accept_threshold: UnitInterval = 0.20
    accept_top_k: PositiveInt = 2
    relabel_threshold: UnitInterval = 0.60
    relabel_below: UnitInterval = 0.10
    weight: UnitInterval = 0.3


@dataclass(frozen=True)
class MaskSettings:
    """The mask of each box.

    Attributes:
        box_expand: a mask may leave its box by this share of the width or height at each side.
        min_region_area: holes and islands of fewer pixels are filled and removed.
        min_box_coverage: a mask that covers less of its box is dropped.
    """

    box_expand: UnitInterval = 0.05
    min_region_area: NonNegativeInt = 100
    min_box_coverage: UnitInterval = 0.05


@dataclass(frozen=True)
class SamSettings(MaskSettings):
    """SAM's mask of each box.

    Attributes:
        output: ``single`` (the decoder's own token for unambiguous prompts), ``best`` (highest predicted IoU of three)
            or ``whole`` (the third of three).
        pred_iou_thresh: a mask with a lower predicted IoU is dropped.
    """

    output: Literal["single", "best", "whole"] = "single"
    pred_iou_thresh: UnitInterval = 0.50


@dataclass(frozen=True)
class FusionSettings:
    """Fusion of the masks into one label map.

    Attributes:
        order: which mask is painted over which: ``area`` (small over large), ``score`` (high over low), ``area_score``
            (small over large except where the higher score should win) or ``detector`` (the detector's order, without
            ignored pixels; for comparison only).
        iou_threshold: of two masks of different classes with at least this IoU the weaker becomes ambiguous.
        per_pixel: where masks overlap, decide each pixel by score times mask probability instead of by the order.
    """

    order: Literal["area", "score", "area_score", "detector"] = "area"
    iou_threshold: UnitInterval = 0.80
    per_pixel: bool = False


@dataclass(frozen=True)
class IgnoreSettings:
    """What paints, what is only ambiguous, and which pixels are ignored.

    Attributes:
        confident_threshold: combined score from which a box paints, where labels are given.
        confident_threshold_label_free: combined score from which a box paints, where labels are not given.
        ambiguous_threshold: combined score from which a box that does not paint makes its pixels ignored.
        contest_margin: pixels that two classes claim with scores closer than this are ignored.
        boundary: half-width in pixels of the band along outlines that is ignored where SAM is unsure; 0 for none.
    """

    confident_threshold: UnitInterval = 0.30
    confident_threshold_label_free: UnitInterval = 0.35
    ambiguous_threshold: UnitInterval = 0.20
    contest_margin: UnitInterval = 0.05
    boundary: NonNegativeInt = 0


@dataclass(frozen=True)
class DetectionSettings:
    """The settings that the shared seeder reads; a backend adds its modes and the groups of its detector and masks."""

    OWNER: ClassVar[str]
    DETECTOR: ClassVar[str]
    """Name of the group of the detector's settings. It differs between backends, since a class set may have thresholds
    of its own, and scores of different detectors do not compare."""

    mode: str = "auto"
    clip: ClipSettings = field(default_factory=ClipSettings)
    nms: NmsSettings = field(default_factory=NmsSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    ignore: IgnoreSettings = field(default_factory=IgnoreSettings)

    @property
    def thresholds(self) -> DetectorSettings:
        """The group of the detector's settings."""
        group: DetectorSettings = getattr(self, self.DETECTOR)
        return group

    def per_class_keys(self) -> tuple[str, ...]:
        """The settings that a class set may override for single classes."""
        return (
            "clip.global_threshold",
            "clip.local_threshold",
            f"{self.DETECTOR}.box_threshold",
            f"{self.DETECTOR}.ambiguous_threshold",
            "verify.accept_threshold",
            "ignore.confident_threshold",
            "ignore.confident_threshold_label_free",
            "ignore.ambiguous_threshold",
        )


def per_class(settings: DetectionSettings, key: str, class_set: ClassSet) -> np.ndarray:
    """A setting of every class, float32 (K,): the class set's own value where it has one, else the common one.

    Raises:
        WsssError: the class set names an unknown class, or gives a value of the wrong type or range.
    """
    values = np.full(len(class_set.names), flatten(settings)[key], np.float32)
    for name, value in class_set.thresholds.get(key, {}).items():
        if name not in class_set.names:
            raise unknown_name(f"class in the thresholds of class set '{class_set.name}':", name, class_set.names)
        values[class_set.names.index(name)] = flatten(override(settings, {key: value}))[key]
    return values


def check_thresholds(settings: DetectionSettings, class_set: ClassSet) -> None:
    """Refuse a class set that overrides a setting of this backend which cannot differ between classes.

    Keys that the backend does not know are left to the backends that do.

    Raises:
        WsssError: such a key.
    """
    known: dict[str, Any] = flatten(settings)
    for key in class_set.thresholds:
        if key in known and key not in settings.per_class_keys():
            raise DataError(
                f"class set '{class_set.name}': {key} cannot differ between classes; those that can: "
                + ", ".join(settings.per_class_keys())
            )
