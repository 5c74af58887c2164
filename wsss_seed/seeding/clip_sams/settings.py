"""Settings of clip-sams; the defaults are those of the published VOC recipe."""

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
        weights: ``channel`` weights channels by the gradient averaged over the patches, as published; ``element``
            multiplies gradient and activation patch by patch.
        softmax: probability that is differentiated: ``masked``, as published, over the classes present and the
            background, with gradients that vanish where an absent class is far ahead; ``present``, CLIP-ES's, over the
            same; ``all``, over all prompts.
        logit_scale: factor on the cosine similarities in the softmax; 0 for the one that CLIP learned.
    """

    weights: Literal["channel", "element"] = "channel"
    softmax: Literal["masked", "present", "all"] = "masked"
    logit_scale: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class AffinitySettings:
    """Refinement of the maps by CLIP's attention affinity.

    Attributes:
        apply_to: what to refine: ``score`` (the map after ReLU and min-max normalisation), ``cam`` (the signed map) or
            ``none``.
        box_threshold: share of a score's maximum above which boxes are drawn; only patches inside them are propagated.
        sinkhorn_iters: iterations of Sinkhorn normalisation of the attention.
        power: power of the affinity matrix.
        attention_blocks: number of last blocks over which attention is averaged.
        box_clip_quirk: whether boxes end before the last row and column, as in the original's released code.
    """

    apply_to: Literal["score", "cam", "none"] = "score"
    box_threshold: UnitInterval = 0.4
    sinkhorn_iters: NonNegativeInt = 1
    power: PositiveInt = 2
    attention_blocks: PositiveInt = 8
    box_clip_quirk: bool = True


@dataclass(frozen=True)
class SamsSettings:
    """SAM-based seeding: from maps to labels.

    Attributes:
        vote: whether mask proposals vote on labels; otherwise each pixel is labelled by the maps alone, an ablation.
        background_exponent: exponent of the background score, (1 - highest class score) ** exponent.
        margin: difference of the two highest scores of a mask below which its pixels are ignored; 0, as in the
            original, ignores none.
        max_area_ratio: share of the image above which a mask of a foreground class is ignored; 1, as in the original,
            ignores none.
    """

    vote: bool = True
    background_exponent: NonNegativeFloat = 0.6
    margin: UnitInterval = 0.0
    max_area_ratio: UnitInterval = 1.0


@dataclass(frozen=True)
class ClipSamsSettings:
    """All settings of clip-sams.

    Attributes:
        max_side: longest side in pixels at which CLIP sees an image; the memory of attention grows with its fourth
            power.
    """

    OWNER: ClassVar[str] = "clip-sams"
    max_side: PositiveInt = 1024
    cam: CamSettings = field(default_factory=CamSettings)
    affinity: AffinitySettings = field(default_factory=AffinitySettings)
    sams: SamsSettings = field(default_factory=SamsSettings)
    proposals: ProposalSettings = field(default_factory=ProposalSettings)
