"""Every threshold of sam3 as a setting; what it has in common with dino-sam has the same name there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...config import NonNegativeInt, UnitInterval, override
from ...data.classes import ClassSet
from ...errors import WsssError
from ..dino_sam import settings as dino_sam
from ..dino_sam.settings import (
    BoxSettings,
    ClipSettings,
    DetectorSettings,
    FuseSettings,
    IgnoreSettings,
    NmsSettings,
    SamSettings,
    VerifySettings,
)


@dataclass(frozen=True)
class TextSettings:
    """What SAM 3 is asked and which answers count.

    Attributes:
        part_phrases: whether the class set's part phrases are asked for too.
        box_thr: an object above this score may paint.
        low_thr: an object from this score on may at least make pixels uncertain.
        rescue_thr: least score of the best object of a given class that has none above ``box_thr``.
        fallback_thr: least score of the one object kept where no label-free candidate survives.
    """

    part_phrases: bool = False
    box_thr: UnitInterval = 0.50
    low_thr: UnitInterval = 0.30
    rescue_thr: UnitInterval = 0.15
    fallback_thr: UnitInterval = 0.20


@dataclass(frozen=True)
class MaskSettings:
    """SAM 3's masks.

    Attributes:
        clip_box_expand: a mask may leave its object's box by this part of the width or height at each side.
        min_area: holes and islands of fewer pixels are filled and removed.
        min_cover: a mask covering less of its box is dropped.
        core: middle part of each side of the box that becomes 255 in place of a dropped mask.
    """

    clip_box_expand: UnitInterval = 0.05
    min_area: NonNegativeInt = 100
    min_cover: UnitInterval = 0.05
    core: UnitInterval = 0.50


@dataclass(frozen=True)
class Settings:
    """All settings of sam3. ``mode``: ``label_given``, ``label_free``, or ``auto`` (given where an image's labels are
    known, else free)."""

    OWNER: ClassVar[str] = "sam3"
    mode: Literal["auto", "label_given", "label_free"] = "auto"
    clip: ClipSettings = field(default_factory=ClipSettings)
    text: TextSettings = field(default_factory=TextSettings)
    nms: NmsSettings = field(default_factory=NmsSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    fuse: FuseSettings = field(default_factory=FuseSettings)
    ignore: IgnoreSettings = field(default_factory=IgnoreSettings)


def as_dino_sam(s: Settings) -> dino_sam.Settings:
    """The same settings under the names that they have in dino-sam, a phrase at a time."""
    text, mask = s.text, s.mask
    return dino_sam.Settings(
        mode=s.mode,
        clip=s.clip,
        gd=DetectorSettings(
            "per_class", text.part_phrases, text.box_thr, text.low_thr, text.rescue_thr, text.fallback_thr
        ),
        nms=s.nms,
        box=s.box,
        verify=s.verify,
        sam=SamSettings(
            clip_box_expand=mask.clip_box_expand,
            min_area=mask.min_area,
            min_cover=mask.min_cover,
            min_iou=0.0,
            core=mask.core,
        ),
        fuse=s.fuse,
        ignore=s.ignore,
    )


def thresholds_as_dino_sam(class_set: ClassSet, settings: Settings) -> dict[str, Mapping[str, float]]:
    """A class set's own thresholds under dino-sam's names: those of SAM 3's scores in the place of the detector's.

    Raises:
        WsssError: a setting that cannot differ between classes, or a value of the wrong type or range.
    """
    own: dict[str, Mapping[str, float]] = {}
    for key, values in class_set.thresholds.items():
        group, _, name = key.partition(".")
        if group == "gd":  # says nothing about the scores of SAM 3
            continue
        if group != "text":
            own[key] = values
            continue
        if f"gd.{name}" not in dino_sam.PER_CLASS:
            raise WsssError(f"class set '{class_set.name}': {key} cannot differ between classes; text.box_thr can")
        for value in values.values():
            override(settings, {key: value})
        own[f"gd.{name}"] = values
    return own
