"""Self-training: combines seeds with the predictions of a segmenter trained on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ..config import UnitInterval, flatten
from ..data.base import Sample
from ..data.classes import IGNORE
from ..errors import ImageError
from ..types import LoadedSample, Seed


@dataclass(frozen=True)
class AgreementSettings:
    """Combination of seed and prediction.

    Attributes:
        disagreement: label of a pixel on which they differ: ``ignore`` gives it the ignore label; ``weigh`` gives it
            the more confident label with the difference of the confidences, for training with
            ``train.confidence_weighting``.
        confidence_threshold: lowest confidence at which a prediction counts; 0 counts every prediction.
    """

    OWNER: ClassVar[str] = "self-training"
    disagreement: Literal["ignore", "weigh"] = "ignore"
    confidence_threshold: UnitInterval = 0.9


class SoftLabels(NamedTuple):
    """A label map uint8 (H, W), with the ignore label where nothing is known, and confidence float32 (H, W) in 0..1."""

    labels: np.ndarray
    confidence: np.ndarray


def agreement(
    seed: SoftLabels, prediction: SoftLabels, settings: AgreementSettings = AgreementSettings()
) -> SoftLabels:
    """The labels that the next round is trained on. Predictions below ``confidence_threshold`` do not count. At each
    pixel:

    - Both give the same label: that label, with the higher of the two confidences.
    - Only the seed gives a label: the label and confidence of the seed.
    - Only the prediction gives a label: those of the prediction.
    - They differ: according to ``disagreement``, the ignore label, or the more confident label (the seed's in a tie)
      with the difference of the confidences.
    - Neither gives a label: the ignore label.

    Ignored pixels have confidence 0. With ``ignore`` a label of the seed is never replaced by another one: rounds
    remove uncertain labels and fill in missing ones, and cannot drift.

    Raises:
        ValueError: the maps differ in size.
    """
    if not seed.labels.shape == seed.confidence.shape == prediction.labels.shape == prediction.confidence.shape:
        raise ValueError(f"a seed of {seed.labels.shape} and a prediction of {prediction.labels.shape} pixels")
    unlabelled = seed.labels == IGNORE
    counts = (prediction.labels != IGNORE) & (prediction.confidence >= settings.confidence_threshold)
    same = counts & (seed.labels == prediction.labels)
    differ = counts & ~same & ~unlabelled
    filled = counts & unlabelled
    more_confident = prediction.confidence > seed.confidence

    labels = np.where(unlabelled, np.uint8(IGNORE), seed.labels)
    confidence = np.where(same & more_confident, prediction.confidence, seed.confidence)
    labels[filled], confidence[filled] = prediction.labels[filled], prediction.confidence[filled]
    if settings.disagreement == "ignore":
        labels[differ] = IGNORE
    else:
        labels = np.where(differ & more_confident, prediction.labels, labels)
        confidence[differ] = np.abs(seed.confidence - prediction.confidence)[differ]
    confidence[labels == IGNORE] = 0
    return SoftLabels(labels.astype(np.uint8), confidence.astype(np.float32))


class AgreementFilter:
    """A ``Seeder`` of the masks of the next round.

    Args:
        seed_labels: reads the seed of a sample, upright; raises ImageError.
        prediction: reads the prediction of the segmenter, upright; raises ImageError.
        settings: how to combine them.
        record: further entries for ``settings`` that determine the masks.
    """

    needs_boxes = False

    def __init__(
        self,
        seed_labels: Callable[[Sample], SoftLabels],
        prediction: Callable[[Sample], SoftLabels],
        settings: AgreementSettings,
        record: Mapping[str, Any],
    ):
        self.settings: Mapping[str, Any] = {**flatten(settings), **record}
        self._seed_labels, self._prediction, self._set = seed_labels, prediction, settings

    def seed(self, loaded: LoadedSample) -> Seed:
        """The fused mask of an image; the evidence has the share of its pixels on which both agreed.

        Raises:
            ImageError: a seed or a prediction is missing or unreadable, or they differ in size.
        """
        sample = loaded.sample
        seed, prediction = self._seed_labels(sample), self._prediction(sample)
        try:
            fused = agreement(seed, prediction, self._set)
        except ValueError as error:
            raise ImageError(f"{sample.id}: {error}; make the prediction again") from None
        agreed = float((seed.labels == prediction.labels).mean())
        classes = tuple(int(v) - 1 for v in np.unique(fused.labels) if v not in (0, IGNORE))
        scores = {c: round(float(fused.confidence[fused.labels == c + 1].max()), 6) for c in classes}
        return Seed(fused.labels, fused.confidence, classes, scores, {"agreed": round(agreed, 6)})
