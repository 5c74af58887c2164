"""The settings of training, and recipes: named sets of them as TOML data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from ..config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, override
from ..data.classes import ClassSet
from ..errors import WsssError, unknown_name
from ..io.text import parse_toml, read_text
from .networks import STRIDE, NetworkSettings

_HERE = Path(__file__).parent / "recipes"

Factor = Annotated[float, (0.01, 100.0)]


@dataclass(frozen=True)
class AugmentSettings:
    """Random crops of image and mask together, in this order.

    Attributes:
        short: an image is brought to this length of its shorter side; 0 leaves it as it is. So it is at test time.
        long: and to at most this length of its longer side.
        ratio_low, ratio_high: then its size is multiplied by a number drawn from this range,
        ratio_step: in these steps; 0 for any number.
        crop: side of the square that is cut out, a multiple of 32; what is missing is filled up with 255.
        category: up to ten crops are drawn until no category has more than this share of the labelled pixels and there
            are two at least.
        flip: chance of a mirror image.
        photometric: whether brightness, contrast, saturation and hue are changed.
    """

    short: NonNegativeInt = 512
    long: PositiveInt = 2048
    ratio_low: Factor = 0.5
    ratio_high: Factor = 2.0
    ratio_step: NonNegativeFloat = 0.0
    crop: PositiveInt = 512
    category: UnitInterval = 0.75
    flip: UnitInterval = 0.5
    photometric: bool = True


@dataclass(frozen=True)
class OptimiserSettings:
    """How weights move.

    Attributes:
        kind: ``sgd`` or ``adamw``.
        rate: peak learning rate.
        momentum: of SGD.
        decay: weight decay.
        decay_all: whether norms, biases, embeddings and tables of positions decay too.
        backbone: factor of the encoder's learning rate.
        clip: L2 norm to which the gradient is cut; 0 for none.
        power: the rate falls as (1 - done share of the iterations) to this power,
        end: to this rate.
        warmup: iterations over which the rate first rises, from a thousandth of itself.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    rate: NonNegativeFloat = 0.01
    momentum: UnitInterval = 0.9
    decay: NonNegativeFloat = 5e-4
    decay_all: bool = True
    backbone: NonNegativeFloat = 1.0
    clip: NonNegativeFloat = 0.0
    power: NonNegativeFloat = 0.9
    end: NonNegativeFloat = 1e-4
    warmup: NonNegativeInt = 0


@dataclass(frozen=True)
class TrainSettings:
    """How long and on how much at a time.

    Attributes:
        iterations: steps of the optimiser.
        batch: images of a step, over all processes.
        accumulate: into how many parts each process divides its images of a step.
        precision: of the forward pass on a GPU; a CPU computes in float32.
        ema: how much the averaged weights keep in each step; 0 for no averaging. Where there are averaged weights, they
            are the result.
        confidence: whether a pixel's loss is weighted by the confidence of its seed.
        evaluate: iterations between two evaluations on the validation split.
        save: iterations between two checkpoints.
    """

    iterations: PositiveInt = 40000
    batch: PositiveInt = 16
    accumulate: PositiveInt = 1
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    ema: UnitInterval = 0.0
    confidence: bool = False
    evaluate: PositiveInt = 4000
    save: PositiveInt = 500


@dataclass(frozen=True)
class Settings:
    """Everything that determines a training but its data and its seed."""

    OWNER: ClassVar[str] = "train-seg"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass(frozen=True)
class Recipe:
    """A named set of settings.

    Attributes:
        name: of a recipe that comes with the package, or a file's stem.
        title: one line for the user.
        weights: of the encoder, as ``networks.build`` takes them.
        settings: the settings.
    """

    name: str
    title: str
    weights: str
    settings: Settings


def recipes() -> tuple[str, ...]:
    """The names of the recipes that come with the package."""
    return tuple(sorted(p.stem for p in _HERE.glob("*.toml")))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: of one that comes with the package, or a TOML file with ``title``, ``weights`` and the tables
            ``network``, ``augment``, ``optimiser`` and ``train``, all of them optional.
        overrides: dotted key -> value before the recipe's, e.g. ``{"train.batch": 8}``.

    Raises:
        WsssError: no such recipe, or unknown or unusable settings.
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
    settings = override(Settings(), {**values, **(overrides or {})})
    _check(settings)
    return Recipe(path.stem, title, weights, settings)


def recipe_for(class_set: ClassSet) -> str:
    """The recipe of a class set: ``tiny`` for toyland, else DeepLabV3+ with the schedule of the nearest dataset."""
    return {"toyland": "tiny", "coco": "deeplabv3plus-coco"}.get(class_set.name, "deeplabv3plus-voc")


def _check(settings: Settings) -> None:
    augment, network = settings.augment, settings.network
    if augment.crop % STRIDE:
        raise WsssError(f"setting augment.crop = {augment.crop}: expected a multiple of {STRIDE}")
    if augment.ratio_low > augment.ratio_high:
        raise WsssError(
            f"setting augment.ratio_low = {augment.ratio_low:g}: more than augment.ratio_high = {augment.ratio_high:g}"
        )
    if network.stride not in (8, 16):
        raise WsssError(f"setting network.stride = {network.stride}: expected 8 or 16")
    if len(network.rates) != 3:
        raise WsssError(f"setting network.rates = {list(network.rates)}: expected three numbers")
    if settings.train.ema == 1:
        raise WsssError("setting train.ema = 1: averaged weights that never change; give less, e.g. 0.99")
