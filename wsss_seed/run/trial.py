"""Settings tried on single photographs, without a run folder: each photograph is seeded with each of several settings.

With several settings, the models of ``dino-sam`` and ``sam3`` run once per photograph for what the settings have in
common: their outputs are recorded, and only what is missing for the next settings is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.base import Sample
from ..data.classes import ClassSet
from ..data.images import read_orientation, read_rgb
from ..data.orientation import turn
from ..errors import UsageError
from ..io.source import Location
from ..models.outputs import ModelOutputs
from ..models.recorder import Memory, recorded
from ..models.zoo import ModelSet
from ..seeding.backends import BackendRequest, build_seeder
from ..seeding.detection.replay import check_replayable
from ..types import LoadedSample, Seed, Seeder
from .explain import Explanation, explain_seed
from .model_outputs import BACKENDS

_NEEDS_LABELS = "clip-sams"


@dataclass(frozen=True)
class Tried:
    """A photograph seeded with some settings.

    Attributes:
        image: uint8 (H, W, 3) RGB, upright.
        seed: its seed, upright too.
        explanation: how it came about.
    """

    image: np.ndarray
    seed: Seed
    explanation: Explanation


class Trial:
    """Seeds photographs with each of several settings.

    Args:
        backend: name of the backend.
        class_set: the classes to find.
        models: the model set, adapted to the backend.
        settings: the settings of each attempt, dotted key -> value.
        options: options that only this backend has.
        labels: foreground indices of the classes in the photographs; None to leave that to the backend.

    Raises:
        WsssError: an unknown backend, setting or option, a value out of range, image-level labels or boxes that the
            backend needs, or weights that cannot be loaded.
    """

    def __init__(
        self,
        backend: str,
        class_set: ClassSet,
        models: ModelSet,
        settings: Sequence[Mapping[str, Any]],
        options: Mapping[str, str] | None = None,
        labels: tuple[int, ...] | None = None,
    ) -> None:
        if backend == _NEEDS_LABELS and labels is None:
            raise UsageError(
                f"{backend} needs to know the classes in the photographs; name them in `labels`, or use `backend` "
                "dino-sam"
            )
        self._class_set, self._labels, self._memory = class_set, labels, Memory()

        def build(models: ModelSet) -> list[Seeder]:
            return [build_seeder(backend, BackendRequest(class_set, models, own), options) for own in settings]

        self._seeders = build(models)
        if any(seeder.needs_boxes for seeder in self._seeders):
            raise UsageError("`mode` boxes_given needs the ground-truth boxes of a dataset; use generate")
        if len(self._seeders) > 1 and backend in BACKENDS and all(map(_can_be_recorded, self._seeders)):
            self._seeders = build(recorded(models, self._memory))

    def __call__(self, photo: Location) -> list[Tried]:
        """Seed a photograph with each of the settings. Raises ImageError if it cannot be read or seeded."""
        image = turn(read_rgb(photo), read_orientation(photo))
        sample = Sample(str(photo), None, self._labels)
        self._memory.name, self._memory.outputs = sample.id, ModelOutputs("")
        return [self._tried(sample, image, seeder) for seeder in self._seeders]

    def _tried(self, sample: Sample, image: np.ndarray, seeder: Seeder) -> Tried:
        seed = seeder.seed(LoadedSample(sample, image))
        return Tried(image, seed, explain_seed(sample, seed, self._class_set, image, seeder))


def _can_be_recorded(seeder: Seeder) -> bool:
    """Whether nothing that these settings need is left out of recorded outputs."""
    if seeder.settings.get("clip.scores") == "patches":
        return False
    try:
        check_replayable(seeder.settings)
    except UsageError:
        return False
    return True
