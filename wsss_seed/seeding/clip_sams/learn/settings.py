"""Every value of prompt learning as a setting, with the default of FMA-WSSS's classification task on VOC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ....settings_tools import Amount, Count, Share, Whole, replaced
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

    tokens: Count = 16
    shared: bool = True
    position: Literal["end", "front"] = "end"
    background: Literal["named", "empty"] = "named"
    std: Amount = 0.015


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

    long_low: Count = 288
    long_high: Count = 480
    crop: Count = 224
    jitter: Share = 0.5
    flip: Share = 0.5


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
    batch: Count = 16
    accumulate: Count = 1
    rate: Amount = 1e-3
    momentum: Share = 0.9
    decay: Amount = 5e-4
    warmup: Whole = 500
    warmup_rate: Amount = 1e-5
    iterations: Count = 1800
    stop: Whole = 0
    half: bool = True


@dataclass(frozen=True)
class LearnSettings:
    """All settings of one learning task. The maps should be those that the prompts will make."""

    context: ContextSettings = field(default_factory=ContextSettings)
    cam: CamSettings = field(default_factory=CamSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


def override(settings: LearnSettings, values: Mapping[str, Any]) -> LearnSettings:
    """Settings with some values replaced, dotted key to value, e.g. ``{"train.iterations": 600}``.

    Raises:
        WsssError: unknown key (the nearest known one is named), or a value of the wrong type or range.
    """
    return replaced(settings, values, "learn-prompts")
