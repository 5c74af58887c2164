"""Settings of prompt learning; the defaults are those of the published VOC classification task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ....config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from ....errors import UsageError
from ..settings import CamSettings

Task = Literal["cls", "seg"]


@dataclass(frozen=True)
class ContextSettings:
    """The learned context vectors, with CoOp's names.

    Attributes:
        n_ctx: context vectors per prompt.
        class_specific: whether each prompt has context vectors of its own; otherwise all prompts share them.
        class_token_position: place of the class name, after the context (``end``) or before it (``front``).
        background: whether background prompts contain their phrases (``named``) or context vectors alone (``empty``).
        init_std: standard deviation of the normal distribution of the initial vectors.
    """

    n_ctx: PositiveInt = 16
    class_specific: bool = False
    class_token_position: Literal["end", "front"] = "end"
    background: Literal["named", "empty"] = "named"
    init_std: NonNegativeFloat = 0.015


@dataclass(frozen=True)
class PromptAugmentSettings:
    """Augmentation of image and seed together.

    Attributes:
        longest_edge_range: smallest and largest length in pixels to which the longer side is resized at random; the
            shorter side stays at least as long as the crop.
        crop_size: side of the random square crop in pixels.
        color_jitter_prob: probability of each of the four colour changes.
        flip_prob: probability of a horizontal flip.
    """

    longest_edge_range: tuple[PositiveInt, ...] = (288, 480)
    crop_size: PositiveInt = 224
    color_jitter_prob: UnitInterval = 0.5
    flip_prob: UnitInterval = 0.5

    def __post_init__(self) -> None:
        if len(self.longest_edge_range) != 2 or self.longest_edge_range[0] > self.longest_edge_range[1]:
            raise UsageError(
                f"setting augment.longest_edge_range = {list(self.longest_edge_range)}: expected two numbers, the "
                "lower one first"
            )


@dataclass(frozen=True)
class PromptTrainSettings:
    """Optimizer and learning rate schedule.

    Attributes:
        labels: image-level labels of a crop: those of the whole ``image``, or the classes in the ``crop`` of the seed.
        batch_size: images per micro-batch.
        gradient_accumulation_steps: micro-batches per optimizer step; their gradients are averaged.
        lr: peak learning rate of SGD.
        momentum: momentum of SGD.
        weight_decay: weight decay.
        warmup_iters: iterations at the constant rate ``warmup_lr``.
        warmup_lr: learning rate during warm-up.
        max_iters: length of the schedule: after warm-up the rate follows a cosine that reaches 0 here.
        stop_iter: iteration at which learning ends early; 0 for ``max_iters``.
    """

    labels: Literal["image", "crop"] = "image"
    batch_size: PositiveInt = 16
    gradient_accumulation_steps: PositiveInt = 1
    lr: NonNegativeFloat = 1e-3
    momentum: UnitInterval = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    warmup_iters: NonNegativeInt = 500
    warmup_lr: NonNegativeFloat = 1e-5
    max_iters: PositiveInt = 1800
    stop_iter: NonNegativeInt = 0


@dataclass(frozen=True)
class LearnSettings:
    """All settings of one learning task. Those of the maps should be the ones with which the prompts will be used."""

    OWNER: ClassVar[str] = "learn-prompts"
    context: ContextSettings = field(default_factory=ContextSettings)
    cam: CamSettings = field(default_factory=CamSettings)
    augment: PromptAugmentSettings = field(default_factory=PromptAugmentSettings)
    train: PromptTrainSettings = field(default_factory=PromptTrainSettings)
