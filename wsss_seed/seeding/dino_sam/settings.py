"""Every threshold of dino-sam as a setting, with its default and the values it may take.

The defaults are ours, since those of the paper (arXiv 2405.06586) are not released; but ``gd.box_thr``, ``gd.caption``
and ``sam.mask`` are as in the released code of Sun et al. (arXiv 2305.01586).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from ...config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, flatten, override
from ...data.classes import ClassSet
from ...errors import WsssError, unknown_name

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
    """Label-free classification and the scale of every CLIP softmax.

    Attributes:
        templates: sentences for the text features, ``{}`` standing for the phrase.
        negatives: whether the class set's background phrases compete.
        scale: factor of the cosine similarities; belongs to the weights (100 for OpenAI's).
        views: grids of local windows beside the global view; g gives g x g half-overlapping windows.
        local_weight: part of the best local view in the ranking score; the rest is the global view's.
        tau_glob, tau_loc: a class becomes a candidate with this global or this local score.
        max_candidates: at most so many candidates an image; 0 takes the class set's number.
        decision: who decides which classes are present: ``detector`` (a candidate needs a surviving box), or
            ``classifier`` (relative rule on CLIP's scores alone, an ablation).
    """

    templates: tuple[str, ...] = TEMPLATES
    negatives: bool = True
    scale: NonNegativeFloat = 100.0
    views: tuple[PositiveInt, ...] = (2, 3)
    local_weight: UnitInterval = 0.5
    tau_glob: UnitInterval = 0.10
    tau_loc: UnitInterval = 0.25
    max_candidates: NonNegativeInt = 0
    decision: Literal["detector", "classifier"] = "detector"


@dataclass(frozen=True)
class DetectorSettings:
    """Captions and score thresholds of the detector.

    Attributes:
        caption: ``joint`` (one caption of all classes, which then compete) or ``per_class``.
        part_phrases: whether the class set's part phrases are asked for too.
        box_thr: a box above this score may paint.
        low_thr: a box from this score on may at least make pixels uncertain.
        rescue_thr: least score of the best box of a given class that has none above ``box_thr``.
        fallback_thr: least score of the one box kept where no label-free candidate survives.
    """

    caption: Literal["joint", "per_class"] = "joint"
    part_phrases: bool = False
    box_thr: UnitInterval = 0.30
    low_thr: UnitInterval = 0.20
    rescue_thr: UnitInterval = 0.15
    fallback_thr: UnitInterval = 0.20


@dataclass(frozen=True)
class MapSettings:
    """How token probabilities become class scores: ``span_mean_max`` (the best phrase's mean, as in Grounding
    DINO's evaluation on COCO) or ``best_token`` (the best single token, as in the released code of Sun et al.)."""

    score: Literal["span_mean_max", "best_token"] = "span_mean_max"


@dataclass(frozen=True)
class NmsSettings:
    """IoU above which the weaker of two boxes goes, within a class and across classes."""

    per_class: UnitInterval = 0.70
    cross_class: UnitInterval = 0.90


@dataclass(frozen=True)
class BoxSettings:
    """Geometry of acceptable boxes.

    Attributes:
        min_side: shortest acceptable side in pixels.
        min_area: smallest acceptable part of the image (0.0002 suits VOC, 0.0001 COCO).
        max_cover: a box covering more of the image is a large box.
        cover_score: a large box with a lower score is doubtful.
        inside: a box lies inside another when this part of its area does.
        group_cover: a group box has this part of its area covered by the boxes inside it.
        limit: at most so many boxes an image, best first.
    """

    min_side: NonNegativeInt = 4
    min_area: UnitInterval = 0.0002
    max_cover: UnitInterval = 0.95
    cover_score: UnitInterval = 0.40
    inside: UnitInterval = 0.90
    group_cover: UnitInterval = 0.80
    limit: PositiveInt = 100


@dataclass(frozen=True)
class VerifySettings:
    """CLIP's second look at each box.

    Attributes:
        enabled: whether boxes are verified at all.
        expand: context added at each side, as a part of the box's width or height.
        min_side: boxes with a shorter side in pixels are not verified.
        small_factor: factor of the score of boxes not verified for their size.
        accept: crop probability that accepts a box.
        top: a box whose class is among so many best foreground classes is accepted as well.
        relabel: crop probability of another candidate class that takes the box over ...
        relabel_below: ... where the box's own class stays below this.
        weight: exponent of the crop probability in the combined score; the detector score has the rest.
        floor: the crop probability counts for at least this.
    """

    enabled: bool = True
    expand: UnitInterval = 0.10
    min_side: NonNegativeInt = 32
    small_factor: UnitInterval = 0.9
    accept: UnitInterval = 0.20
    top: PositiveInt = 2
    relabel: UnitInterval = 0.60
    relabel_below: UnitInterval = 0.10
    weight: UnitInterval = 0.3
    floor: UnitInterval = 0.01


@dataclass(frozen=True)
class SamSettings:
    """SAM in the box.

    Attributes:
        mask: ``single`` (the decoder's own token for unambiguous prompts), ``multi_best`` (best predicted IoU of
            three) or ``multi_whole`` (the third of three).
        clip_box_expand: a mask may leave its box by this part of the width or height at each side.
        min_area: holes and islands of fewer pixels are filled and removed.
        min_cover: a mask covering less of its box is dropped.
        min_iou: a mask with a lower predicted IoU is dropped.
        core: middle part of each side of the box that becomes 255 in place of a dropped mask.
    """

    mask: Literal["single", "multi_best", "multi_whole"] = "single"
    clip_box_expand: UnitInterval = 0.05
    min_area: NonNegativeInt = 100
    min_cover: UnitInterval = 0.05
    min_iou: UnitInterval = 0.50
    core: UnitInterval = 0.50


@dataclass(frozen=True)
class FuseSettings:
    """Many masks into one label map.

    Attributes:
        policy: ``area`` (small over large), ``score`` (strong over weak), ``area_score`` (small over large except
            where the stronger should win) or ``order`` (the detector's order, no 255; for comparison only).
        dup_iou: mask IoU from which two classes describe the same object.
        contained: a mask lies on another when this part of it overlaps.
        exact: whether score times SAM's probability decides each pixel that masks share, instead of the policy.
    """

    policy: Literal["area", "score", "area_score", "order"] = "area"
    dup_iou: UnitInterval = 0.80
    contained: UnitInterval = 0.80
    exact: bool = False


@dataclass(frozen=True)
class IgnoreSettings:
    """What paints, what only makes uncertain, and what becomes 255.

    Attributes:
        high: combined score from which a box paints, where labels are given.
        high_free: the same where they are not.
        low: combined score from which a box makes its pixels 255.
        contest_delta: two classes on one pixel with scores closer than this make it 255.
        boundary: half-width in pixels of the band round masks that becomes 255 where SAM is unsure; 0 for none.
        cap: part of 255 in an image above which the user is told.
    """

    high: UnitInterval = 0.30
    high_free: UnitInterval = 0.35
    low: UnitInterval = 0.20
    contest_delta: UnitInterval = 0.05
    boundary: NonNegativeInt = 0
    cap: UnitInterval = 0.60


@dataclass(frozen=True)
class Settings:
    """All settings of dino-sam. ``mode``: ``label_given``, ``label_free``, ``boxes_given`` (ground-truth boxes, to
    bound SAM's error), or ``auto`` (given where an image's labels are known, else free)."""

    OWNER: ClassVar[str] = "dino-sam"
    mode: Literal["auto", "label_given", "label_free", "boxes_given"] = "auto"
    clip: ClipSettings = field(default_factory=ClipSettings)
    gd: DetectorSettings = field(default_factory=DetectorSettings)
    map: MapSettings = field(default_factory=MapSettings)
    nms: NmsSettings = field(default_factory=NmsSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    sam: SamSettings = field(default_factory=SamSettings)
    fuse: FuseSettings = field(default_factory=FuseSettings)
    ignore: IgnoreSettings = field(default_factory=IgnoreSettings)


PER_CLASS = (
    "clip.tau_glob",
    "clip.tau_loc",
    "gd.box_thr",
    "gd.low_thr",
    "verify.accept",
    "ignore.high",
    "ignore.high_free",
    "ignore.low",
)
"""The settings that a class set may override for single classes."""


def per_class(settings: Settings, key: str, class_set: ClassSet) -> np.ndarray:
    """A setting for every class, float32 (K,): the class set's own value where it has one, else the common one.

    Raises:
        WsssError: the class set names an unknown class, or gives a value of the wrong type or range.
    """
    values = np.full(len(class_set.names), flatten(settings)[key], np.float32)
    for name, value in class_set.thresholds.get(key, {}).items():
        if name not in class_set.names:
            raise unknown_name(f"class in the thresholds of class set '{class_set.name}':", name, class_set.names)
        values[class_set.names.index(name)] = flatten(override(settings, {key: value}))[key]
    return values


def check_thresholds(class_set: ClassSet) -> None:
    """Refuse a class set that overrides a setting of dino-sam which is not one of single classes.

    Keys that dino-sam does not know are left to the backends that do.

    Raises:
        WsssError: such a key.
    """
    for key in class_set.thresholds:
        if key in flatten(Settings()) and key not in PER_CLASS:
            raise WsssError(
                f"class set '{class_set.name}': {key} cannot differ between classes; those that can: "
                + ", ".join(PER_CLASS)
            )
