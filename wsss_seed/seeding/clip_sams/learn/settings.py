"""Every value of prompt learning as a setting, with the default of FMA-WSSS's classification task on VOC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ....config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from ..settings import CamSettings

Task = Literal["cls", "seg"]


@dataclass(frozen=True)
class ContextSettings:
    """The context vectors.

    Attributes:
        tokens: learned vectors a prompt.
        shared: one set for all prompts, or one for each prompt.
        position: of the class name, behind the context (``end``) or before it (``front``).
        background: whether background prompts carry their ``named`` phrases or are ``empty``, context alone.
        std: standard deviation of the first values.
    """

    tokens: PositiveInt = 16
    shared: bool = True
    position: Literal["end", "front"] = "end"
    background: Literal["named", "empty"] = "named"
    std: NonNegativeFloat = 0.015


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation, image and seed together.

    Attributes:
        long_low, long_high: the long side is rescaled to a whole number drawn from these, both included, but the short
            side stays at least as long as the crop.
        crop: side of the random crop.
        jitter: probability of each of the four changes of colour.
        flip: probability of mirroring.
    """

    long_low: PositiveInt = 288
    long_high: PositiveInt = 480
    crop: PositiveInt = 224
    jitter: UnitInterval = 0.5
    flip: UnitInterval = 0.5


@dataclass(frozen=True)
class TrainSettings:
    """Optimiser and schedule.

    Attributes:
        labels: the image-level labels of a crop: those of the whole ``image``, or the classes of the seed's ``crop``.
        batch: images of a micro-batch.
        accumulate: micro-batches whose gradients are averaged for one step.
        rate: peak learning rate of SGD.
        momentum, decay: of SGD.
        warmup: iterations at the constant rate ``warmup_rate``; then the rate jumps to its peak and falls by a cosine,
        iterations: ... to 0 at this iteration.
        stop: iteration after which learning ends, perhaps before; 0 for ``iterations``.
        half: whether the frozen blocks run in half precision on a GPU; what is differentiated never does.
    """

    labels: Literal["image", "crop"] = "image"
    batch: PositiveInt = 16
    accumulate: PositiveInt = 1
    rate: NonNegativeFloat = 1e-3
    momentum: UnitInterval = 0.9
    decay: NonNegativeFloat = 5e-4
    warmup: NonNegativeInt = 500
    warmup_rate: NonNegativeFloat = 1e-5
    iterations: PositiveInt = 1800
    stop: NonNegativeInt = 0
    half: bool = True


@dataclass(frozen=True)
class LearnSettings:
    """All settings of one learning task. The maps should be those that the prompts will make."""

    OWNER: ClassVar[str] = "learn-prompts"
    context: ContextSettings = field(default_factory=ContextSettings)
    cam: CamSettings = field(default_factory=CamSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
