"""The settings of sam3: those of detection, with SAM 3's own thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...config import UnitInterval
from ..detection.settings import DetectionSettings, DetectorSettings, MaskSettings


@dataclass(frozen=True)
class Sam3Settings(DetectorSettings):
    """SAM 3's scores, which are probabilities that run higher than Grounding DINO's."""

    box_threshold: UnitInterval = 0.50
    ambiguous_threshold: UnitInterval = 0.30


@dataclass(frozen=True)
class Settings(DetectionSettings):
    """All settings of sam3.

    Attributes:
        mode: ``label_given``, ``label_free``, or ``auto`` (given where the labels of an image are known, else free).
    """

    OWNER: ClassVar[str] = "sam3"
    DETECTOR: ClassVar[str] = "sam3"

    mode: Literal["auto", "label_given", "label_free"] = "auto"
    sam3: Sam3Settings = field(default_factory=Sam3Settings)
    mask: MaskSettings = field(default_factory=MaskSettings)
