"""A custom backend in one file: pixels far from the mean colour of the image get the first of its labels.

pip install examples/own_backend
wsss-seed generate --dataset toyland --backend saliency
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wsss_seed.config import UnitInterval, flatten, override
from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.types import LoadedSample, Seed


@dataclass(frozen=True)
class Settings:
    """What --set changes, and ``wsss-seed settings saliency`` lists.

    Attributes:
        threshold: smallest distance from the mean colour, relative to that between black and white.
    """

    OWNER: ClassVar[str] = "saliency"
    threshold: UnitInterval = 0.25


class Saliency:
    needs_boxes = False

    def __init__(self, settings: Settings):
        self.settings = flatten(settings)
        self.threshold = settings.threshold

    def seed(self, loaded: LoadedSample) -> Seed:
        image = loaded.image.astype(np.float32)
        distance = np.linalg.norm(image - image.mean((0, 1)), axis=2) / 442
        present = (loaded.sample.labels or ())[:1]
        value = present[0] + 1 if present else 0
        labels = np.where(distance > self.threshold, value, 0).astype(np.uint8)
        return Seed(labels, np.clip(np.abs(distance - self.threshold), 0, 1), present)


def build(request: BackendRequest) -> Saliency:
    return Saliency(override(Settings(), request.settings))
