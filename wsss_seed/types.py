"""What every backend takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .data.base import Boxes, Sample


@dataclass(frozen=True)
class LoadedSample:
    """A sample with its pixels: ``image`` uint8 (H, W, 3) RGB; ``boxes`` only for seeders that need them."""

    sample: Sample
    image: np.ndarray
    boxes: Boxes | None = None


@dataclass(frozen=True)
class Seed:
    """The outcome for one image.

    Attributes:
        labels: uint8 (H, W); 0 background, 1..K foreground, 255 ignore.
        confidence: float32 (H, W) in 0..1.
        present: foreground indices (ascending) taken as present.
        scores: score of each class considered, by foreground index.
        evidence: what led to the seed, as plain JSON values.
        notes: remarks for the user, e.g. why the seed is all ignore.
    """

    labels: np.ndarray
    confidence: np.ndarray
    present: tuple[int, ...]
    scores: Mapping[int, float] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Seeder(Protocol):
    """Turns images into seeds, each independently of all others."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The effective settings as a flat mapping of dotted keys to plain JSON values."""
        ...

    @property
    def needs_boxes(self) -> bool:
        """Whether ``LoadedSample.boxes`` must be given."""
        ...

    def seed(self, loaded: LoadedSample) -> Seed:
        """The seed of an image. Raises ImageError when it cannot be seeded."""
        ...
