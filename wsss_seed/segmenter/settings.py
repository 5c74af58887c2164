"""Training settings, and recipes: named sets of settings as TOML data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from ..config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, override
from ..data.classes import ClassSet
from ..errors import UsageError, unknown_name
from ..io.text import parse_toml, read_text
from .networks import STRIDE, NetworkSettings

_HERE = Path(__file__).parent / "recipes"

Factor = Annotated[float, (0.01, 100.0)]


@dataclass(frozen=True)
class AugmentSettings:
    """Random crops of image and label map together, in this order.

    Attributes:
        shortest_edge: pixels to which the shorter side of an image is resized; 0 keeps the size. Applies at test time
            too.
        longest_edge: limit on the longer side; where it would be exceeded the image is resized to it instead.
        ratio_range: lowest and highest random scale factor applied after that.
        ratio_step: spacing of the scale factors drawn from ``ratio_range``; 0 draws any number.
        crop_size: side of the square crop in pixels, a multiple of 32; padding gets the ignore label.
        cat_max_ratio: largest share of the labelled pixels of a crop that one class may have; up to ten crops are drawn
            to satisfy it. 1 accepts the first crop.
        flip_prob: probability of a horizontal flip.
        photometric_distortion: whether to distort brightness, contrast, saturation and hue.
    """

    shortest_edge: NonNegativeInt = 512
    longest_edge: PositiveInt = 2048
    ratio_range: tuple[Factor, ...] = (0.5, 2.0)
    ratio_step: NonNegativeFloat = 0.0
    crop_size: PositiveInt = 512
    cat_max_ratio: UnitInterval = 0.75
    flip_prob: UnitInterval = 0.5
    photometric_distortion: bool = True


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and learning rate schedule.

    Attributes:
        name: ``sgd`` or ``adamw``.
        lr: peak learning rate.
        momentum: momentum of SGD.
        weight_decay: weight decay.
        decay_norm_and_bias: whether weight decay also applies to norms, biases, embeddings and position tables.
        backbone_lr_mult: factor on the learning rate of the encoder.
        clip_grad_norm: maximum L2 norm of the gradient; 0 for no clipping.
        lr_power: power of the polynomial learning rate decay.
        min_lr: learning rate at the end of the decay.
        warmup_iters: iterations of linear warm-up, from a thousandth of the learning rate.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: NonNegativeFloat = 0.01
    momentum: UnitInterval = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    decay_norm_and_bias: bool = True
    backbone_lr_mult: NonNegativeFloat = 1.0
    clip_grad_norm: NonNegativeFloat = 0.0
    lr_power: NonNegativeFloat = 0.9
    min_lr: NonNegativeFloat = 1e-4
    warmup_iters: NonNegativeInt = 0


@dataclass(frozen=True)
class TrainSettings:
    """Length, batches and intervals of training.

    Attributes:
        max_iters: optimizer steps.
        batch_size: images per optimizer step, over all processes and accumulation steps.
        gradient_accumulation_steps: micro-batches into which each process splits its images of a step.
        precision: of the forward pass on a GPU: ``fp32``, ``bf16`` or ``fp16``; a CPU always computes in float32.
        ema_decay: decay of the exponential moving average of the weights, which then is the result; 0 for none.
        confidence_weighting: whether to weight the loss of each pixel by the confidence of its label.
        eval_interval: iterations between evaluations on the validation split.
        checkpoint_interval: iterations between checkpoints.
    """

    max_iters: PositiveInt = 40000
    batch_size: PositiveInt = 16
    gradient_accumulation_steps: PositiveInt = 1
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    ema_decay: UnitInterval = 0.0
    confidence_weighting: bool = False
    eval_interval: PositiveInt = 4000
    checkpoint_interval: PositiveInt = 500


@dataclass(frozen=True)
class SegmenterSettings:
    """Everything that determines a training run except its data and its random seed."""

    OWNER: ClassVar[str] = "train-seg"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass(frozen=True)
class Recipe:
    """A named set of training settings.

    Attributes:
        name: name of a bundled recipe, or the stem of its file.
        title: one-line description.
        weights: initial encoder weights, as for ``networks.build``.
        settings: all training settings.
    """

    name: str
    title: str
    weights: str
    settings: SegmenterSettings


def recipes() -> tuple[str, ...]:
    """Names of the bundled recipes."""
    return tuple(sorted(p.stem for p in _HERE.glob("*.toml")))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: name of a bundled recipe, or path of a TOML file with ``title``, ``weights`` and the tables ``network``,
            ``augment``, ``optimizer`` and ``train``, all of them optional.
        overrides: dotted key -> value, taking precedence over the recipe, e.g. ``{"train.batch_size": 8}``.

    Raises:
        WsssError: no such recipe, or unknown or invalid settings.
    """
    path = Path(name) if name.endswith(".toml") else _HERE / f"{name}.toml"
    if not name.endswith(".toml") and name not in recipes():
        raise unknown_name("recipe", name, recipes())
    table = parse_toml(read_text(path), str(path))
    title, weights = str(table.pop("title", path.stem)), str(table.pop("weights", "imagenet"))
    values = {
        f"{group}.{key}" if isinstance(entries, dict) else group: value
        for group, entries in table.items()
        for key, value in (entries.items() if isinstance(entries, dict) else [("", entries)])
    }
    settings = override(SegmenterSettings(), {**values, **(overrides or {})})
    _check(settings)
    return Recipe(path.stem, title, weights, settings)


def recipe_for(class_set: ClassSet) -> str:
    """Default recipe for a class set: ``tiny`` for toyland, else DeepLabV3+ with the schedule of VOC or COCO."""
    return {"toyland": "tiny", "coco": "deeplabv3plus-coco"}.get(class_set.name, "deeplabv3plus-voc")


def _check(settings: SegmenterSettings) -> None:
    augment, network = settings.augment, settings.network
    if augment.crop_size % STRIDE:
        raise UsageError(f"setting augment.crop_size = {augment.crop_size}: expected a multiple of {STRIDE}")
    if len(augment.ratio_range) != 2 or augment.ratio_range[0] > augment.ratio_range[1]:
        raise UsageError(
            f"setting augment.ratio_range = {list(augment.ratio_range)}: expected two numbers, the lower one first"
        )
    if network.output_stride not in (8, 16):
        raise UsageError(f"setting network.output_stride = {network.output_stride}: expected 8 or 16")
    if len(network.atrous_rates) != 3:
        raise UsageError(f"setting network.atrous_rates = {list(network.atrous_rates)}: expected three numbers")
    if settings.train.ema_decay == 1:
        raise UsageError("setting train.ema_decay = 1: the averaged weights would never change; use less, e.g. 0.99")
