"""Every value of clip-sams as a setting, with the default of FMA-WSSS's coarse seeds on VOC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from ...config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from ...proposals.generate import ProposalSettings

Stage = Literal["handwritten", "coarse", "fine"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class CamSettings:
    """Class activation maps.

    Attributes:
        weights: ``channel`` (the gradient's mean over the patches, as published) or ``element`` (gradient times
            activation patch by patch).
        softmax: which probability is differentiated: ``masked`` (as published: over the classes present and the
            background, less steep where an absent class is ahead), ``present`` (CLIP-ES's, over the same) or ``all``.
        scale: factor of the cosine similarities in the softmax; 0 takes the one CLIP learned.
    """

    weights: Literal["channel", "element"] = "channel"
    softmax: Literal["masked", "present", "all"] = "masked"
    scale: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class AffinitySettings:
    """Refinement of the maps by CLIP's own attention.

    Attributes:
        apply_to: what is refined: ``score`` (the map made positive and scaled to 0..1), ``cam`` (the signed map), or
            ``none``.
        box_threshold: part of a score's maximum above which its boxes are drawn; only patches inside them give.
        rounds: of Sinkhorn's normalisation.
        power: of the affinity matrix.
        blocks: so many last blocks give attention.
        box_clip_quirk: whether a box at the right or lower border loses its last column or row, as in the original.
    """

    apply_to: Literal["score", "cam", "none"] = "score"
    box_threshold: UnitInterval = 0.4
    rounds: NonNegativeInt = 1
    power: PositiveInt = 2
    blocks: PositiveInt = 8
    box_clip_quirk: bool = True


@dataclass(frozen=True)
class SamsSettings:
    """From maps to labels.

    Attributes:
        vote: whether mask proposals vote; else every pixel stands for itself (an ablation).
        exponent: of the background's score: background = (1 - best class) ** exponent.
        fallback_exponent: the same for the pixels of an image without mask proposals, where the original stops.
        margin: pixels whose best two scores are closer become 255; 0, as in the original, makes none.
        largest: masks of objects that cover more than this share of the image become 255; 1, as in the original, makes
            none.
    """

    vote: bool = True
    exponent: NonNegativeFloat = 0.6
    fallback_exponent: NonNegativeFloat = 1.0
    margin: UnitInterval = 0.0
    largest: UnitInterval = 1.0


@dataclass(frozen=True)
class Settings:
    """All settings of clip-sams.

    Attributes:
        max_side: images with a longer side are seen by CLIP at this size, for memory grows with its fourth power.
    """

    OWNER: ClassVar[str] = "clip-sams"
    max_side: PositiveInt = 1024
    cam: CamSettings = field(default_factory=CamSettings)
    affinity: AffinitySettings = field(default_factory=AffinitySettings)
    sams: SamsSettings = field(default_factory=SamsSettings)
    proposals: ProposalSettings = field(default_factory=ProposalSettings)
