"""Self-training: what a seed and a segmenter trained on such seeds say together about an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """How two label maps become one.

    Attributes:
        disagreement: label of a pixel on which they differ: ``ignore`` gives it the ignore label; ``weigh`` gives it
            the more confident label with the difference of the confidences, for training with
            ``train.confidence_weighting``.
        confidence_threshold: lowest confidence at which a prediction counts; 0 counts every prediction.
    """

    OWNER: ClassVar[str] = "self-training"
    disagreement: Literal["ignore", "weigh"] = "ignore"
    confidence_threshold: UnitInterval = 0.9


class Opinion(NamedTuple):
    """A label map uint8 (H, W), 255 for no opinion, and its confidence float32 (H, W) in 0..1."""

    labels: np.ndarray
    confidence: np.ndarray


def agreement(seed: Opinion, prediction: Opinion, settings: AgreementSettings = AgreementSettings()) -> Opinion:
    """The label map that the next round learns from. A prediction below ``sure`` is none. For each pixel:

    - Both give the same label: that label, with the higher of their confidences.
    - Only the seed has an opinion: the seed's label and confidence.
    - Only the prediction has one: the prediction's.
    - They differ: by ``disagreement``, 255 or the more confident one, the seed among equals, with the difference of
      their confidences.
    - Neither has one: 255.

    255 has confidence 0. So no label comes up that neither has given, and with ``ignore`` a label of the seed is never
    exchanged for another: rounds take away what is doubtful and fill in what is missing, and cannot drift.

    Raises:
        ValueError: maps of different sizes.
    """
    if not seed.labels.shape == seed.confidence.shape == prediction.labels.shape == prediction.confidence.shape:
        raise ValueError(f"a seed of {seed.labels.shape} and a prediction of {prediction.labels.shape} pixels")
    silent = seed.labels == IGNORE
    counts = (prediction.labels != IGNORE) & (prediction.confidence >= settings.confidence_threshold)
    same = counts & (seed.labels == prediction.labels)
    differ = counts & ~same & ~silent
    filled = counts & silent
    surer = prediction.confidence > seed.confidence

    labels = np.where(silent, np.uint8(IGNORE), seed.labels)
    confidence = np.where(same & surer, prediction.confidence, seed.confidence)
    labels[filled], confidence[filled] = prediction.labels[filled], prediction.confidence[filled]
    if settings.disagreement == "ignore":
        labels[differ] = IGNORE
    else:
        labels = np.where(differ & surer, prediction.labels, labels)
        confidence[differ] = np.abs(seed.confidence - prediction.confidence)[differ]
    confidence[labels == IGNORE] = 0
    return Opinion(labels.astype(np.uint8), confidence.astype(np.float32))


class Agreeing:
    """Makes the masks of the next round; a ``Seeder``.

    Args:
        seed: reads the seed of a sample; raises ImageError.
        prediction: reads what the segmenter said about it; raises ImageError.
        settings: how they become one.
        record: further facts that determine the masks, for ``settings``.
    """

    def __init__(
        self,
        seed: Callable[[Sample], Opinion],
        prediction: Callable[[Sample], Opinion],
        settings: AgreementSettings,
        record: Mapping[str, Any],
    ):
        self.settings: Mapping[str, Any] = {**flatten(settings), **record}
        self._seed, self._prediction, self._set = seed, prediction, settings

    def seed(self, samples: Sequence[LoadedSample]) -> list[Seed]:
        """One fused mask per sample, in order; evidence says which share of the pixels they agreed on.

        Raises:
            ImageError: a seed or a prediction is missing, unreadable or of another size than the other.
        """
        return [self._fuse(s.sample) for s in samples]

    def _fuse(self, sample: Sample) -> Seed:
        seed, prediction = self._seed(sample), self._prediction(sample)
        try:
            fused = agreement(seed, prediction, self._set)
        except ValueError as error:
            raise ImageError(f"{sample.id}: {error}; make the prediction again") from None
        agreed = float((seed.labels == prediction.labels).mean())
        classes = tuple(int(v) - 1 for v in np.unique(fused.labels) if v not in (0, IGNORE))
        scores = {c: round(float(fused.confidence[fused.labels == c + 1].max()), 6) for c in classes}
        return Seed(fused.labels, fused.confidence, classes, scores, {"agreed": round(agreed, 6)})
