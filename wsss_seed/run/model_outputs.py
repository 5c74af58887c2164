"""Seeders that store the outputs of the models in the run folder, and seeders that use stored outputs only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.base import Sample
from ..data.classes import ClassSet
from ..data.voc_layout import Layout
from ..errors import ImageError, UsageError
from ..models.outputs import ModelOutputs, image_digest, read_outputs, write_outputs, write_texts
from ..models.recorder import Memory, recorded
from ..models.zoo import ModelSet
from ..output.run_folder import outputs_path, texts_path, write_error
from ..seeding.backends import BackendRequest, build_seeder
from ..seeding.detection.per_class import split_thresholds
from ..seeding.detection.replay import check_replayable, settings_ahead
from ..types import LoadedSample, Seed, Seeder

BACKENDS = ("dino-sam", "sam3")
"""Backends whose model outputs can all be recorded."""


def models_identity(models: ModelSet) -> dict[str, str]:
    """Identity of the weights by role, and the precision: everything on which the outputs of the models depend."""
    return {**{role: models.identity(role) for role in models.names}, "precision": models.precision}


class RecordingSeeder:
    """A seeder whose models record their outputs, including those that other thresholds would need.

    Args:
        backend, class_set, models, settings, options: see ``BackendRequest`` and ``build_seeder``.
        orientation: returns the EXIF orientation of a sample, for the record.

    Attributes:
        memory: the recorded outputs; after ``seed``, those for that image.

    Raises:
        WsssError: the seeds of this backend or of these settings cannot be made again from the outputs of the models.
    """

    def __init__(
        self,
        backend: str,
        class_set: ClassSet,
        models: ModelSet,
        settings: Mapping[str, Any],
        *,
        options: Mapping[str, str] | None = None,
        orientation: Callable[[Sample], int] = lambda _: 1,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"the outputs of the models can be kept for {' and '.join(BACKENDS)} only, not {backend}")
        self.memory = Memory()
        own = recorded(models, self.memory)
        self._seeder = build_seeder(backend, BackendRequest(class_set, own, settings), options)
        self.settings = self._seeder.settings
        self.needs_boxes = self._seeder.needs_boxes
        check_replayable(self.settings)
        everywhere, common = replace(class_set, thresholds={}), split_thresholds(self.settings)[0]
        self._ahead = {
            mode: [build_seeder(backend, BackendRequest(everywhere, own, {**common, **c})) for c in changes]
            for mode, changes in settings_ahead(self.settings).items()
        }
        self._orientation = orientation

    def seed(self, loaded: LoadedSample) -> Seed:
        """Seed one image, and record the outputs that other thresholds would need too."""
        self.memory.name = loaded.sample.id
        self.memory.outputs = ModelOutputs(image_digest(loaded.image), self._orientation(loaded.sample))
        seed = self._seeder.seed(loaded)  # first, with the same batches as in a run that keeps nothing
        for mode, seeders in self._ahead.items():
            if mode == "label_free" or loaded.sample.labels is not None:
                for seeder in seeders:
                    seeder.seed(loaded)
        return seed


class KeepingSeeder:
    """A seeder that writes the recorded outputs to a run folder.

    Args:
        seeder: the seeder.
        folder: the run folder.
        models: identity of the weights and the precision of the run.
        layout: how the files of the run folder are named.
    """

    def __init__(self, seeder: RecordingSeeder, folder: Path, models: Mapping[str, str], layout: Layout) -> None:
        self._seeder, self._folder, self._models, self._layout = seeder, folder, models, layout
        self.settings, self.needs_boxes = seeder.settings, seeder.needs_boxes
        self._texts = 0

    def seed(self, loaded: LoadedSample) -> Seed:
        """Seed one image and write the outputs of the models. Raises RunFolderError if they cannot be written."""
        seed = self._seeder.seed(loaded)
        memory = self._seeder.memory
        try:
            if len(memory.texts) > self._texts:
                write_texts(texts_path(self._folder), memory.texts, self._models, memory.logit_scale)
                self._texts = len(memory.texts)
            write_outputs(outputs_path(self._folder, loaded.sample.id, self._layout), memory.outputs, self._models)
        except OSError as error:
            raise write_error(self._folder, error) from error
        return seed


class ReplayingSeeder:
    """A seeder whose models return the outputs stored in a run folder.

    Args:
        seeder: a seeder with the models of ``kept_models``.
        memory: their memory.
        folder: the run folder.
        models: identity of the weights and the precision of the run.
        layout: how the files of the run folder are named.
    """

    def __init__(self, seeder: Seeder, memory: Memory, folder: Path, models: Mapping[str, str], layout: Layout) -> None:
        self._seeder, self._memory, self._folder, self._models = seeder, memory, folder, models
        self._layout = layout
        self.settings, self.needs_boxes = seeder.settings, seeder.needs_boxes

    def seed(self, loaded: LoadedSample) -> Seed:
        """Seed one image.

        Raises:
            ImageError: its outputs are missing, damaged or of other weights, the image has changed since they were
                stored, or the settings need other outputs.
        """
        outputs = read_outputs(outputs_path(self._folder, loaded.sample.id, self._layout), self._models)
        if outputs.image != image_digest(loaded.image):
            raise ImageError(
                f"{loaded.sample.id}: the image has changed since the model outputs were kept; run generate with "
                "`keep_evidence` again"
            )
        self._memory.name, self._memory.outputs = loaded.sample.id, outputs
        return self._seeder.seed(loaded)


def outputs_kept(folder: Path, layout: Layout) -> Callable[[str], bool]:
    """A function that returns whether a run folder of this layout has the outputs for an id."""
    return lambda id: outputs_path(folder, id, layout).is_file()
