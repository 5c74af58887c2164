"""A custom backend in one file: pixels far from the mean colour of the image get the first of its labels.

pip install examples/own_backend
wsss-seed generate --dataset toyland --backend saliency
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.types import LoadedSample, Seed


class Saliency:
    needs_boxes = False

    def __init__(self, threshold: float):
        self.settings: Mapping[str, Any] = {"threshold": threshold}
        self.threshold = threshold

    def seed(self, loaded: LoadedSample) -> Seed:
        image = loaded.image.astype(np.float32)
        distance = np.linalg.norm(image - image.mean((0, 1)), axis=2) / 442
        present = (loaded.sample.labels or ())[:1]
        value = present[0] + 1 if present else 0
        labels = np.where(distance > self.threshold, value, 0).astype(np.uint8)
        return Seed(labels, np.clip(np.abs(distance - self.threshold), 0, 1), present)


def build(request: BackendRequest) -> Saliency:
    return Saliency(float(request.settings.get("threshold", 0.25)))
