"""Predictions of a trained segmenter, with the interface of a seeder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from ..config import NonNegativeFloat, PositiveInt, UnitInterval, flatten
from ..errors import UsageError
from ..proposals.store import Proposals
from ..types import LoadedSample, Seed
from .checkpoint import Segmenter
from .inference import multi_scale_inference, resize
from .sharpen import sharpen

Factor = Annotated[float, (0.05, 20.0)]


@dataclass(frozen=True)
class SharpenSettings:
    """Sharpening by mask proposals.

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
            raise UsageError("setting scales = []: at least one is needed, such as 1.0")


class Predictor:
    """A ``Seeder`` that predicts label maps with a trained segmenter.

    Confidence is the probability of the label; inside mask proposals, the score of the mask.

    Args:
        segmenter: the trained segmenter.
        settings: inference settings.
        proposals: returns the mask proposals of an image uint8 (H, W, 3) for sharpening; None for no sharpening.
        record: further entries for ``settings`` that determine the label maps.
    """

    needs_boxes = False

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

    def seed(self, loaded: LoadedSample) -> Seed:
        """The prediction for an image."""
        return self._predict(loaded.image)

    @torch.inference_mode()
    def probabilities(self, image: np.ndarray) -> torch.Tensor:
        """Class probabilities of an image uint8 (H, W, 3): float32 (K + 1, h, w), background first, on the device of
        the segmenter, at the size of its input."""
        scale, options = self._segmenter.scale, self._set
        height, width = image.shape[:2]
        return multi_scale_inference(
            lambda pixels: self._segmenter.probabilities(pixels[None])[0],
            self._segmenter.normalise(image)[0],
            [scale.size(height, width, factor) for factor in options.scales],
            flip=options.flip,
            window=options.window,
            stride=max(1, round(options.window * (1 - options.overlap))),
            size=scale.size(height, width),
        )

    @torch.inference_mode()
    def _predict(self, image: np.ndarray) -> Seed:
        size = (image.shape[0], image.shape[1])
        maps = self.probabilities(image)
        labels, confidence = argmax_labels(maps, size)
        classes = _classes(labels)
        notes: tuple[str, ...] = ()
        evidence: dict[str, Any] = {}
        if self._proposals is not None and classes:
            found = self._proposals(image)
            evidence["masks"] = len(found)
            if not len(found):
                notes = ("no mask proposals: not sharpened",)
            upsampled = (resize(maps[c : c + 1], size)[0].cpu() for c in (0, *(c + 1 for c in classes)))
            labels, confidence = sharpen(
                upsampled,
                classes,
                found.masks,
                found.level,
                self._set.sharpen.background_exponent,
                (labels, confidence),
            )
            classes = _classes(labels)
        scores = {c: round(float(confidence[labels == c + 1].max()), 6) for c in classes}
        return Seed(labels, confidence, classes, scores, evidence, notes)


def argmax_labels(maps: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The class with the highest probability at each pixel, the earlier one in a tie.

    Maps are upsampled one at a time, so that memory does not grow with the number of classes.

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
    """A hash of everything that determines the predictions of a segmenter: network, weights, input size, classes.

    Unlike a hash of its file it does not depend on when it was trained or how often training was interrupted.
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
