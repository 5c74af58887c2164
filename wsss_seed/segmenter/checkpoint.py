"""Checkpoints of trained segmenters: weights with everything needed to use them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..config import override
from ..data.classes import MAX_CLASSES, ClassSet
from ..errors import CheckpointError, WsssError, out_of_memory
from ..io.files import plain, write_bytes
from .networks import Network, NetworkSettings, build

FORMAT = 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet statistics, with which all encoders here were trained."""


@dataclass(frozen=True)
class Scale:
    """Size to which an image is resized for the network, at scale factor 1.

    Attributes:
        shortest_edge: length of the shorter side in pixels; 0 keeps the size of images.
        longest_edge: limit on the longer side in pixels; where it applies the shorter side becomes shorter than
            ``shortest_edge``.
    """

    shortest_edge: int = 0
    longest_edge: int = 2048

    def size(self, height: int, width: int, factor: float = 1.0) -> tuple[int, int]:
        """Height and width to which an image is resized, keeping its aspect ratio."""
        if self.shortest_edge:
            factor *= min(self.shortest_edge / min(height, width), self.longest_edge / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True)
class Segmenter:
    """A trained network with its classes and preprocessing.

    Attributes:
        network: in evaluation mode, on its device.
        class_set: names and palette; class 0 is background, 1..K those of the class set.
        scale: size of images for which it was trained.
        recipe: all settings it was trained with, as dotted keys.
        history: facts about its training: iterations, mIoU on the validation split, and so on.
    """

    network: Network
    class_set: ClassSet
    scale: Scale
    recipe: Mapping[str, Any]
    history: Mapping[str, Any]

    @property
    def classes(self) -> int:
        """K + 1."""
        return len(self.class_set.names) + 1

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def normalise(self, image: np.ndarray) -> torch.Tensor:
        """uint8 (H, W, 3) RGB as normalised float32 (1, 3, H, W) on the device of the network."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        return normalised(pixels.permute(2, 0, 1)[None])

    @torch.inference_mode()
    def logits(self, images: Sequence[np.ndarray] | torch.Tensor, factor: float = 1.0) -> Any:
        """Logits of every pixel; softmax gives probabilities.

        Args:
            images: uint8 (H, W, 3) RGB images of any sizes, or a normalised float32 batch (N, 3, H, W).
            factor: scale factor of images for multi-scale inference; must be 1 for a batch.

        Returns:
            For images a list of float32 (K + 1, H, W) at the size of each; for a batch float32 (N, K + 1, H, W).
        """
        if isinstance(images, torch.Tensor):
            return self.network(images.to(self.device)).float()
        return [self._of_image(image, factor) for image in images]

    def probabilities(self, images: Sequence[np.ndarray] | torch.Tensor, factor: float = 1.0) -> Any:
        """Softmax of ``logits`` over the classes."""
        logits = self.logits(images, factor)
        return logits.softmax(1) if isinstance(logits, torch.Tensor) else [one.softmax(0) for one in logits]

    def _of_image(self, image: np.ndarray, factor: float) -> torch.Tensor:
        height, width = image.shape[:2]
        size = self.scale.size(height, width, factor)
        pixels = self.normalise(image)
        if size != (height, width):
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        logits = self.network(pixels).float()
        if size != (height, width):
            logits = F.interpolate(logits, (height, width), mode="bilinear")
        result: torch.Tensor = logits[0]
        return result


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 3, H, W) RGB as normalised float32 in channels-last memory format."""
    mean, std = (torch.tensor(v, device=pixels.device).view(3, 1, 1) for v in (MEAN, STD))
    return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def describe(segmenter: Segmenter, settings: NetworkSettings) -> dict[str, Any]:
    """Everything about a segmenter except its weights, as plain serializable values."""
    class_set = segmenter.class_set
    return {
        "format": FORMAT,
        "network": plain(vars(settings)),
        "class_set": {
            "name": class_set.name,
            "names": list(class_set.names),
            "phrases": plain(class_set.phrases),
            "prompts": list(class_set.prompts),
            "background": list(class_set.background),
            "palette": plain(class_set.palette),
            "assume_present": class_set.assume_present,
        },
        "scale": plain(vars(segmenter.scale)),
        "recipe": plain(segmenter.recipe),
        "history": plain(segmenter.history),
    }


def save(
    path: Path,
    segmenter: Segmenter,
    settings: NetworkSettings,
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a segmenter atomically.

    Args:
        path: the file.
        segmenter: the segmenter.
        settings: settings of its network.
        weights: weights to write instead of the network's own.
        training: further state from which training resumes: tensors, numbers and containers of them.

    Raises OSError where the file cannot be written.
    """
    state = segmenter.network.state_dict() if weights is None else weights
    content = {
        **describe(segmenter, settings),
        "weights": {name: value.detach().cpu().contiguous() for name, value in state.items()},
        **({} if training is None else {"training": training}),
    }
    data = io.BytesIO()
    torch.save(content, data)
    write_bytes(path, data.getvalue())


def read(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote.

    Raises:
        WsssError: there is no such file, or it is not a complete checkpoint of a segmenter.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such checkpoint; give a file of wsss-seed train-seg, such as best.pt"
        ) from None
    except Exception as error:  # a torn or foreign file fails in many ways
        if out_of_memory(error):
            raise
        content = None
    whole = isinstance(content, dict) and isinstance(content.get("weights"), dict) and "class_set" in content
    version = content.get("format") if whole else None
    if type(version) is not int:
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of train-seg; copy it again or train again")
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: written by another version of wsss-seed (format {version}, here {FORMAT}); train again"
        )
    result: dict[str, Any] = content
    return result


def load_segmenter(
    path: Path | str, device: str | torch.device = "cpu", class_set: ClassSet | None = None
) -> Segmenter:
    """Read a trained segmenter.

    Args:
        path: a checkpoint, or the folder of a training run, whose best.pt is preferred to last.pt.
        device: device of the network.
        class_set: required classes; None for any.

    Raises:
        WsssError: not a complete checkpoint, or one for another class set.
    """
    path = Path(path)
    if path.is_dir():
        rounds = sorted(path.glob("round-*/last.pt"), key=lambda file: (len(file.parent.name), file))
        if rounds and not (path / "last.pt").exists():
            raise CheckpointError(f"{path}: self-training has a segmenter per round; give {rounds[-1].parent}")
        path = path / "best.pt" if (path / "best.pt").exists() else path / "last.pt"
    content = read(path)
    try:
        own = _class_set(content["class_set"])
        settings = override(NetworkSettings(), content["network"])
        scale = _scale(content["scale"])
        recipe, history = dict(content["recipe"]), dict(content["history"])
    except Exception as error:  # values may be of any type
        raise _damaged(path, error) from None
    if class_set is not None:
        require_classes(path, own, class_set)
    try:
        network = build(settings, len(own.names) + 1)
        # Includes an auxiliary head, which only training needs, if the network was trained with one.
        network.load_state_dict(content["weights"])
    except WsssError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        if out_of_memory(error):
            raise
        raise _damaged(path, error) from None
    return Segmenter(network.to(device).eval(), own, scale, recipe, history)


def _damaged(path: Path, error: Exception) -> WsssError:
    return CheckpointError(f"{path}: damaged checkpoint ({type(error).__name__}); copy it again or train again")


def _class_set(table: Mapping[str, Any]) -> ClassSet:
    """The class set that ``describe`` wrote. Raises ValueError or other errors for anything else."""
    lists = [table["names"], table["prompts"], table["background"], *table["phrases"]]
    words = [word for texts in lists for word in texts]
    if not all(isinstance(texts, list) for texts in [*lists, table["phrases"], table["palette"]]):
        raise ValueError("a list is missing")
    if not all(isinstance(word, str) for word in [table["name"], *words]):
        raise ValueError("a name is not text")
    if not all(name.isprintable() for name in table["names"]):  # each becomes a line of classes.txt
        raise ValueError("a name contains a control character")
    if not 1 <= len(table["names"]) <= MAX_CLASSES:
        raise ValueError(f"{len(table['names'])} classes")
    if not len(table["names"]) == len(table["phrases"]) == len(table["prompts"]):
        raise ValueError("names, phrases and prompts differ in number")
    if not isinstance(table["assume_present"], bool):
        raise ValueError("assume_present is not a truth value")
    palette = tuple((r, g, b) for r, g, b in table["palette"])
    if len(palette) != 256 or not all(type(value) is int and 0 <= value <= 255 for rgb in palette for value in rgb):
        raise ValueError("the palette is not 256 colours")
    return ClassSet(
        name=table["name"],
        names=tuple(table["names"]),
        phrases=tuple(tuple(words) for words in table["phrases"]),
        prompts=tuple(table["prompts"]),
        background=tuple(table["background"]),
        palette=palette,
        assume_present=table["assume_present"],
    )


def _scale(sides: Mapping[str, Any]) -> Scale:
    """The scale that ``describe`` wrote. Raises ValueError or other errors for anything else."""
    scale = Scale(**sides)
    short, long = scale.shortest_edge, scale.longest_edge
    if type(short) is not int or type(long) is not int or short < 0 or long < 1:
        raise ValueError("the scale is not two lengths")
    return scale


def require_classes(path: Path, own: ClassSet, wanted: ClassSet) -> None:
    """Check that a checkpoint has the required classes in the same order.

    Raises:
        WsssError: it does not; the message names the first difference.
    """
    if own.names == wanted.names:
        return
    if len(own.names) != len(wanted.names):
        difference = f"{len(own.names)} classes, not {len(wanted.names)}"
    else:
        i = next(i for i, pair in enumerate(zip(own.names, wanted.names, strict=True)) if pair[0] != pair[1])
        difference = f"class {i + 1} is '{own.names[i]}', not '{wanted.names[i]}'"
    raise CheckpointError(
        f"{path}: trained on class set '{own.name}', which is not '{wanted.name}' ({difference}); give a checkpoint of "
        "these classes"
    )
