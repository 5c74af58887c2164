"""A trained segmenter where a seeder can stand: images in, label maps out, with nothing known about the images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from ..config import NonNegativeFloat, PositiveInt, UnitInterval, flatten
from ..errors import WsssError
from ..proposals.store import Proposals
from ..types import LoadedSample, Seed
from .checkpoint import Segmenter
from .sharpen import sharpened
from .windows import resize, views

Factor = Annotated[float, (0.05, 20.0)]


@dataclass(frozen=True)
class SharpenSettings:
    """Sharpening by mask proposals (A6.4).

    Attributes:
        background_exponent: exponent of the background probability; 4 is the published choice for a DeepLabV3+.
    """

    background_exponent: NonNegativeFloat = 4.0


@dataclass(frozen=True)
class PredictSettings:
    """Inference: test-time augmentation and sliding windows.

    Attributes:
        scales: scale factors at which an image is predicted, relative to the size the segmenter was trained for.
        flip: whether to also predict the horizontally flipped image.
        window: side in pixels of the sliding window that larger images are divided into.
        overlap: overlap of neighbouring windows as a share of their side.
        sharpen: settings of sharpening.
    """

    OWNER: ClassVar[str] = "predict"
    scales: tuple[Factor, ...] = (1.0,)
    flip: bool = False
    window: PositiveInt = 2048
    overlap: UnitInterval = 1 / 3
    sharpen: SharpenSettings = field(default_factory=SharpenSettings)

    def __post_init__(self) -> None:
        if not self.scales:
            raise WsssError("setting scales = []: at least one is needed, such as 1.0")


class Predictor:
    """Makes label maps of images with a trained segmenter; a ``Seeder``.

    Confidence is the probability of the label; where a mask proposal painted, the score that gave it its label.

    Args:
        segmenter: what ``load_segmenter`` read.
        settings: how it is to look.
        proposals: gives the mask proposals of an image uint8 (H, W, 3), for sharpening; None for none.
        record: further facts that determine the label maps, for ``settings``.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        settings: PredictSettings = PredictSettings(),
        proposals: Callable[[np.ndarray], Proposals] | None = None,
        record: Mapping[str, Any] | None = None,
    ):
        flat = flatten(settings)
        if proposals is None:
            flat = {key: value for key, value in flat.items() if not key.startswith("sharpen.")}
        self.class_set = segmenter.class_set
        self.settings: Mapping[str, Any] = {"segmenter": digest(segmenter), **flat, **(record or {})}
        self._segmenter, self._set, self._proposals = segmenter, settings, proposals

    def seed(self, samples: Sequence[LoadedSample]) -> list[Seed]:
        """One prediction per sample, in order; each image is seen by itself."""
        return [self._seed(s.image) for s in samples]

    @torch.inference_mode()
    def probabilities(self, image: np.ndarray) -> torch.Tensor:
        """Class probabilities of an image uint8 (H, W, 3): float32 (K + 1, h, w), background first, on the segmenter's
        device, at the size at which it sees images."""
        seen, options = self._segmenter.scale, self._set
        height, width = image.shape[:2]
        return views(
            lambda pixels: self._segmenter.probabilities(pixels[None])[0],
            self._segmenter.normalise(image)[0],
            [seen.size(height, width, factor) for factor in options.scales],
            flip=options.flip,
            window=options.window,
            stride=max(1, round(options.window * (1 - options.overlap))),
            size=seen.size(height, width),
        )

    @torch.inference_mode()
    def _seed(self, image: np.ndarray) -> Seed:
        size = (image.shape[0], image.shape[1])
        maps = self.probabilities(image)
        labels, confidence = winners(maps, size)
        classes = _classes(labels)
        notes: tuple[str, ...] = ()
        evidence: dict[str, Any] = {}
        if self._proposals is not None and classes:
            found = self._proposals(image)
            evidence["masks"] = len(found)
            if not len(found):
                notes = ("no mask proposals: the segmenter alone decides",)
            enlarged = (resize(maps[c : c + 1], size)[0].cpu() for c in (0, *(c + 1 for c in classes)))
            labels, confidence = sharpened(
                enlarged, classes, found.masks, found.level, self._set.sharpen.background_exponent, (labels, confidence)
            )
            classes = _classes(labels)
        scores = {c: round(float(confidence[labels == c + 1].max()), 6) for c in classes}
        return Seed(labels, confidence, classes, scores, evidence, notes)


def winners(maps: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The class with the highest probability at each pixel, of equals the earlier one.

    The maps are enlarged one at a time, so that memory does not grow with the number of classes.

    Args:
        maps: float32 (C, h, w).
        size: height and width of the image.

    Returns:
        labels uint8 (H, W) and confidence float32 (H, W), the probability.
    """
    best = torch.full(size, -1.0, device=maps.device)
    labels = torch.zeros(size, dtype=torch.uint8, device=maps.device)
    for index in range(len(maps)):
        here = resize(maps[index : index + 1], size)[0]
        labels[here > best] = index
        best = torch.maximum(best, here)
    return labels.cpu().numpy(), best.cpu().numpy()


def digest(segmenter: Segmenter) -> str:
    """A hash of all that determines what a segmenter says: network, weights, size of images, classes.

    Unlike a hash of its file it does not depend on when and in how many parts it was trained.
    """
    network = sorted((key, value) for key, value in segmenter.recipe.items() if key.startswith("network."))
    state = hashlib.sha256(repr((segmenter.class_set.names, segmenter.scale, network)).encode())
    for name, value in sorted(segmenter.network.state_dict().items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        state.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()[:16]


def _classes(labels: np.ndarray) -> tuple[int, ...]:
    """Foreground indices of the labels of a map."""
    return tuple(int(value) - 1 for value in np.unique(labels) if value)
