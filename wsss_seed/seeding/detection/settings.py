"""The shared settings of dino-sam and sam3, with defaults and value ranges."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
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
    """Label-free classification, and the logit scale of all CLIP softmaxes.

    Attributes:
        templates: prompt templates of the text features, with ``{}`` for the phrase.
        logit_scale: factor on the cosine similarities; 0 for the one that CLIP learned (100 for OpenAI's).
        scores: what scores the classes: ``views``, the whole image and windows of it, or ``patches``, as in TagCLIP,
            for which CLIP must be a plain vision transformer of open_clip whose patches resemble texts.
        grids: local views in addition to the global view; g adds g x g half-overlapping windows.
        local_weight: weight of the best local view in the ranking score; the rest is that of the global view.
        global_threshold: a class whose probability in the global view reaches this is a candidate.
        local_threshold: a class whose probability in any local view reaches this is a candidate.
        patch_threshold: with patches, a class whose score lies above this share of the range of the scores of all
            classes is a candidate (0.5 in TagCLIP's code).
        max_candidates: largest number of candidates per image; 0 takes that of the class set.
        distractors: number of distractors added to the caption of the detector, those that CLIP sees most in the image;
            their boxes are discarded. Negative phrases of the class set are always added.
        decision: how the present classes are decided: ``detector`` (candidates with a confident box),
            ``classifier`` (CLIP's scores alone, by TagCLIP's relative rule; an ablation) or ``none`` (as ``detector``,
            with every class a candidate and without CLIP; for comparison).
    """

    templates: tuple[str, ...] = TEMPLATES
    logit_scale: NonNegativeFloat = 0.0
    scores: Literal["views", "patches"] = "views"
    grids: tuple[PositiveInt, ...] = (2, 3)
    local_weight: UnitInterval = 0.5
    global_threshold: UnitInterval = 0.10
    local_threshold: UnitInterval = 0.25
    patch_threshold: UnitInterval = 0.3
    max_candidates: NonNegativeInt = 0
    distractors: NonNegativeInt = 5
    decision: Literal["detector", "classifier", "none"] = "detector"


@dataclass(frozen=True)
class DetectorSettings:
    """Score thresholds of the model that finds boxes.

    Attributes:
        part_phrases: whether to also detect the part phrases of the class set.
        box_threshold: score above which a box is confident and may paint its class.
        ambiguous_threshold: lowest score of a box that makes its pixels ambiguous.
        rescue_threshold: lowest score of the best box of a given class without a confident box.
        fallback_threshold: lowest score of the only box kept if label-free filtering leaves no confident box.
        candidate_threshold: without given labels, classes that the detector finds with at least this score when it is
            asked for all of them at once are candidates too, whatever CLIP says; 1 leaves the candidates to CLIP.
    """

    part_phrases: bool = False
    box_threshold: UnitInterval = 0.30
    ambiguous_threshold: UnitInterval = 0.20
    rescue_threshold: UnitInterval = 0.10
    fallback_threshold: UnitInterval = 0.20
    candidate_threshold: UnitInterval = 0.40


@dataclass(frozen=True)
class NmsSettings:
    """Non-maximum suppression of boxes.

    Attributes:
        iou_threshold: IoU above which the weaker of two boxes of the same class is dropped.
        cross_class_iou_threshold: IoU from which the weaker of two boxes of different classes is dropped.
    """

    iou_threshold: UnitInterval = 0.70
    cross_class_iou_threshold: UnitInterval = 0.90


@dataclass(frozen=True)
class BoxSettings:
    """Size and number of boxes.

    Attributes:
        min_side: shortest side of a box in pixels.
        min_area: smallest area of a box as a share of the image (0.0002 suits VOC, 0.0001 COCO).
        max_area: share of the image above which a box is considered large.
        large_threshold: score below which a large box is doubtful.
        max_detections: largest number of boxes per image; the best are kept.
    """

    min_side: NonNegativeInt = 4
    min_area: UnitInterval = 0.0002
    max_area: UnitInterval = 0.95
    large_threshold: UnitInterval = 0.40
    max_detections: PositiveInt = 100


@dataclass(frozen=True)
class VerifySettings:
    """Verification of each box by CLIP on its crop.

    The crop of a box often shows other objects too, such as the motorcycle below a rider, and CLIP names the most
    conspicuous. Hence the detector outweighs CLIP.

    Attributes:
        enabled: whether to verify boxes.
        crop: ``tight`` (the box and its context) or ``square`` (its shorter side extended to the longer one).
        context: context around the box in its crop, as a share of its width or height at each side.
        min_side: boxes with a shorter side, in pixels, are not verified.
        trust_threshold: detector score from which verification neither rejects a box nor lowers its score.
        accept_threshold: crop probability from which a box is accepted.
        accept_top_k: boxes whose class is among CLIP's k best foreground classes are also accepted, if the class set
            has at least five classes.
        relabel: whether a box that CLIP clearly assigns to another candidate class is relabelled; if not, it is
            rejected where a box of the other class lies on the same object.
        relabel_threshold: lowest crop probability of such another class.
        relabel_below: crop probability below which its own class must then be.
        weight: exponent of the crop probability in the combined score without given labels; the detector score has 1
            minus it.
        weight_label_given: the same with given labels; 0 leaves the crop probability to decide only between boxes of
            two classes on one object.
    """

    enabled: bool = True
    crop: Literal["tight", "square"] = "tight"
    context: UnitInterval = 0.10
    min_side: NonNegativeInt = 32
    trust_threshold: UnitInterval = 0.50
    accept_threshold: UnitInterval = 0.20
    accept_top_k: PositiveInt = 2
    relabel: bool = False
    relabel_threshold: UnitInterval = 0.60
    relabel_below: UnitInterval = 0.10
    weight: UnitInterval = 0.15
    weight_label_given: UnitInterval = 0.0


@dataclass(frozen=True)
class MaskSettings:
    """The mask of each box.

    Attributes:
        box_expand: margin at each side by which a mask may exceed its box, as a share of the width or height.
        min_region_area: area below which holes are filled and islands removed, in pixels of an image whose longer side
            is 500 or less; in larger images it grows with the square of the longer side.
        min_box_coverage: share of its box below which a mask is dropped.
    """

    box_expand: UnitInterval = 0.05
    min_region_area: NonNegativeInt = 100
    min_box_coverage: UnitInterval = 0.05


@dataclass(frozen=True)
class SamSettings(MaskSettings):
    """The SAM mask of each box.

    Attributes:
        output: output mask of SAM: ``single`` (single-mask output), ``best`` (highest predicted IoU of the three
            multimask outputs) or ``whole`` (the third multimask output).
        pred_iou_thresh: predicted IoU below which a mask is dropped.
    """

    output: Literal["single", "best", "whole"] = "single"
    pred_iou_thresh: UnitInterval = 0.50


@dataclass(frozen=True)
class FusionSettings:
    """Fusion of the masks into one label map.

    Attributes:
        order: painting order: ``area`` (small over large), ``score`` (high over low), ``area_score`` (small over large
            unless the large mask scores higher and does not contain the small one) or ``detector`` (the order of the
            detector, without ignored pixels; for comparison only).
        iou_threshold: mask IoU from which the weaker of two masks of different classes becomes ambiguous.
        per_pixel: whether score times mask probability, instead of the order, decides each pixel of an overlap.
    """

    order: Literal["area", "score", "area_score", "detector"] = "area"
    iou_threshold: UnitInterval = 0.80
    per_pixel: bool = False


@dataclass(frozen=True)
class IgnoreSettings:
    """Which boxes paint, which are only ambiguous, and which pixels are ignored.

    Attributes:
        confident_threshold: combined score from which a box paints if labels are given.
        confident_threshold_label_free: combined score from which a box paints if labels are not given.
        ambiguous_threshold: combined score from which a box that does not paint makes its pixels ignored.
        contest_margin: difference of scores below which pixels claimed by two classes are ignored.
        boundary: half-width in pixels of the band along outlines in which uncertain pixels are ignored; 0 for none.
    """

    confident_threshold: UnitInterval = 0.30
    confident_threshold_label_free: UnitInterval = 0.35
    ambiguous_threshold: UnitInterval = 0.20
    contest_margin: UnitInterval = 0.05
    boundary: NonNegativeInt = 0


@dataclass(frozen=True)
class DetectionSettings:
    """The settings of the shared seeder; backends add their modes and the groups of their detector and masks.

    Attributes:
        assume_present: whether every image shows at least one of the classes, without given labels: ``yes`` keeps the
            best box in any case and ignores all pixels where there is none, ``no`` makes such an image all background;
            ``auto`` takes what the class set says, which is yes for voc, coco and toyland.
    """

    OWNER: ClassVar[str]
    DETECTOR: ClassVar[str]
    """Name of the group of detector settings. It differs between backends because class sets may set these thresholds,
    and scores of different detectors are not comparable."""

    mode: str = "auto"
    assume_present: Literal["auto", "yes", "no"] = "auto"
    clip: ClipSettings = field(default_factory=ClipSettings)
    nms: NmsSettings = field(default_factory=NmsSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    ignore: IgnoreSettings = field(default_factory=IgnoreSettings)

    @property
    def thresholds(self) -> DetectorSettings:
        """The group of detector settings."""
        group: DetectorSettings = getattr(self, self.DETECTOR)
        return group

    def per_class_keys(self) -> tuple[str, ...]:
        """The settings that a class set may override per class."""
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
    """A setting per class, float32 (K,): the value of the class set if it has one, else the common value.

    Raises:
        WsssError: an unknown class in the class set, or a value of the wrong type or range.
    """
    values = np.full(len(class_set.names), attrgetter(key)(settings), np.float32)
    for name, value in class_set.thresholds.get(key, {}).items():
        if name not in class_set.names:
            raise unknown_name(f"class in the thresholds of class set '{class_set.name}':", name, class_set.names)
        values[class_set.names.index(name)] = attrgetter(key)(override(settings, {key: value}))
    return values


def check_thresholds(settings: DetectionSettings, class_set: ClassSet) -> None:
    """Check that the class set overrides only settings that may differ between classes.

    Keys that this backend does not have are skipped; they may belong to another backend.

    Raises:
        WsssError: a setting of this backend that cannot differ between classes.
    """
    known: dict[str, Any] = flatten(settings)
    for key in class_set.thresholds:
        if key in known and key not in settings.per_class_keys():
            raise DataError(
                f"class set '{class_set.name}': {key} cannot differ between classes; the settings that can: "
                + ", ".join(settings.per_class_keys())
            )
