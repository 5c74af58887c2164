"""Seeders that keep what the models answered, and seeders that use nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.errors import ImageError, RunFolderError, UsageError
from wsss_seed.models.outputs import read_orientation, read_outputs
from wsss_seed.models.recorder import kept_models
from wsss_seed.models.zoo import ModelSet
from wsss_seed.output.run_folder import outputs_path, texts_path
from wsss_seed.run.model_outputs import (
    KeepingSeeder,
    RecordingSeeder,
    ReplayingSeeder,
    models_identity,
    outputs_kept,
)
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.types import LoadedSample

CLASSES = load_class_set("toyland")
WORLD = Toyland(CLASSES, "test", 2)


def loaded(i: int = 0, labels: bool = True) -> LoadedSample:
    sample = WORLD[i] if labels else replace(WORLD[i], labels=None)
    return LoadedSample(sample, WORLD.image(WORLD[i]))


@pytest.fixture(scope="module")
def models() -> ModelSet:
    return ModelSet("tiny", "cpu")


def recording(models, **settings) -> RecordingSeeder:
    values = {**models.settings("dino-sam"), **settings}
    return RecordingSeeder("dino-sam", CLASSES, models, values, orientation=lambda _: 6)


def replaying(recorder: RecordingSeeder, folder: Path, models, **settings) -> ReplayingSeeder:
    memory = replace(recorder.memory, asks=False)
    values = {**recorder.settings, **settings}
    own = build_seeder("dino-sam", BackendRequest(CLASSES, kept_models(memory, "cpu"), values))
    return ReplayingSeeder(own, memory, folder, models_identity(models), "flat")


@pytest.fixture(scope="module")
def kept(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recorder = recording(models)
    seeder = KeepingSeeder(recorder, folder, models_identity(models), "flat")
    return folder, recorder, [seeder.seed(loaded(i)) for i in range(2)]


def test_recording_changes_no_seed(models, kept):
    plain = build_seeder("dino-sam", BackendRequest(CLASSES, models, models.settings("dino-sam")))
    for i, seed in enumerate(kept[2]):
        want = plain.seed(loaded(i))
        assert seed.labels.tobytes() == want.labels.tobytes()
        assert seed.confidence.tobytes() == want.confidence.tobytes()
        assert seed.evidence == want.evidence


def test_the_same_seeds_from_what_is_kept(models, kept):
    folder, recorder, seeds = kept
    again = replaying(recorder, folder, models)
    for i in (1, 0):
        seed = again.seed(loaded(i))
        assert seed.labels.tobytes() == seeds[i].labels.tobytes()
        assert seed.evidence == seeds[i].evidence


def test_outputs_lie_in_the_run_folder_with_image_and_orientation(models, kept):
    folder = kept[0]
    identity = models_identity(models)
    assert set(identity) == {"clip", "sam", "detector", "precision"}
    for sample in WORLD:
        path = outputs_path(folder, sample.id, "flat")
        assert read_orientation(path, identity) == 6
        assert read_outputs(path, identity).image
    assert texts_path(folder).is_file()
    assert outputs_kept(folder, "flat")(WORLD[0].id)
    assert not outputs_kept(folder, "flat")("another")
    with pytest.raises(ImageError, match="other weights"):
        read_outputs(outputs_path(folder, WORLD[0].id, "flat"), {**identity, "precision": "fp16"})


def test_what_other_modes_would_need_is_recorded_without_given_labels(models, tmp_path):
    """With labels both modes can be seeded again; without, only the one that needs none."""
    with_labels, without = (recording(models) for _ in range(2))
    with_labels.seed(loaded(0))
    questions = set(with_labels.memory.outputs.queries)
    without.seed(loaded(0, labels=False))
    assert questions > set(without.memory.outputs.queries)


def test_another_image_and_missing_outputs_are_errors_of_the_image(models, kept):
    folder, recorder, _ = kept
    again = replaying(recorder, folder, models)
    changed = LoadedSample(WORLD[0], np.ascontiguousarray(loaded().image[::-1]))
    with pytest.raises(ImageError, match="the image has changed since the model outputs were kept"):
        again.seed(changed)
    with pytest.raises(ImageError, match="missing"):
        again.seed(LoadedSample(Sample("another"), loaded().image))


def test_a_backend_whose_answers_are_not_recorded_is_refused(models):
    with pytest.raises(UsageError, match="can be kept for dino-sam and sam3 only, not clip-sams"):
        RecordingSeeder("clip-sams", CLASSES, models, {})


def test_a_folder_that_takes_nothing_is_one_line(models, tmp_path):
    (tmp_path / "run").write_text("no folder")
    seeder = KeepingSeeder(recording(models), tmp_path / "run", models_identity(models), "flat")
    with pytest.raises(RunFolderError) as error:
        seeder.seed(loaded())
    assert "\n" not in str(error.value)
