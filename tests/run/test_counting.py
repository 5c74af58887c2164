"""Replays that compute each step once count exactly what plain seeds show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import wsss_seed as ws
from tests.small_hf import sam3, saved
from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.models.recorder import recorded
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run import counting
from wsss_seed.run.annotated import FEWEST_IMAGES, examples
from wsss_seed.run.calibrate import GRIDS
from wsss_seed.run.counting import ONLY_IN, SETTINGS, Bench
from wsss_seed.run.model_outputs import RecordingSeeder
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.seeding.detection.per_class import split_thresholds, with_thresholds

CLASSES = load_class_set("toyland")
IMAGES = 5
MODES = ("label_given", "label_free")


class Replay:
    """A few images whose model outputs are recorded, and how to count them with and without memory."""

    def __init__(self, backend: str, models: ModelSet, start: dict) -> None:
        self.world = ws.open_dataset("toyland", split="val", images=FEWEST_IMAGES)
        self.images = examples(self.world, None, None)[:IMAGES]
        self.backend, self.start = backend, start
        recorder = RecordingSeeder(backend, CLASSES, models, start)
        self.memory, self.models = recorder.memory, recorded(models, recorder.memory)
        self.outputs = []
        for example in self.images:
            recorder.seed(example.loaded)
            self.outputs.append(recorder.memory.outputs)
        base = override(override(SETTINGS[backend](), models.settings(backend)), start)
        self.settings = {key: value for key, value in flatten(base).items() if key != "mode"}

    def bench(self, images=None) -> Bench:
        images = self.images if images is None else images
        return Bench(self.backend, CLASSES, images, MODES, self.models, self.memory, self.outputs)

    def seeds(self, settings: dict, mode: str):
        common, own = split_thresholds(settings)
        chosen = override(SETTINGS[self.backend](), {**common, "mode": mode})
        request = BackendRequest(with_thresholds(CLASSES, chosen, own), self.models, flatten(chosen))
        seeder = build_seeder(self.backend, request)
        for example, outputs in zip(self.images, self.outputs, strict=True):
            self.memory.outputs = outputs
            yield example, seeder.seed(example.loaded)

    def check(self, settings: dict, bench: Bench) -> None:
        counts = bench.measure(settings)
        for j, mode in enumerate(MODES):
            for i, (example, seed) in enumerate(self.seeds(settings, mode)):
                expected = confusion_matrix(joint_histogram(example.truth, seed.labels), len(CLASSES.names) + 1)
                assert np.array_equal(counts[i, j], expected), (settings, mode, i)


@pytest.fixture(scope="module")
def dino_sam() -> Replay:
    return Replay("dino-sam", ModelSet("tiny", "cpu"), {})


@pytest.fixture(scope="module")
def sam_3(tmp_path_factory) -> Replay:
    folder = saved(tmp_path_factory.mktemp("models") / "sam3", *sam3())
    low = {"sam3.box_threshold": 0.1, "sam3.ambiguous_threshold": 0.1, "ignore.confident_threshold": 0.1}
    return Replay("sam3", ModelSet("tiny", "cpu", sam=f"hf:{folder}"), low)


OTHER = {
    "fusion.per_pixel": [True],
    "ignore.boundary": [1, 3],
    "box.min_side": [8, 40],
    "box.large_threshold": [0.2, 0.6],
    "box.max_detections": [1, 3],
    "verify.enabled": [False],
    "verify.context": [0.0, 0.3],
    "clip.templates": [("a {}.",)],
    "clip.grids": [(2,)],
    "clip.max_candidates": [1, 2],
    "clip.decision": ["classifier", "none"],
    "assume_present": ["yes", "no"],
}
"""Settings that calibration leaves alone; the steps depend on them as well."""


def random_settings(replay: Replay, dice: np.random.Generator) -> dict:
    """A few settings changed, of all classes or of one."""
    grid = {**GRIDS[replay.backend], **OTHER}
    keys = [key for key in grid if key in replay.settings]
    group = SETTINGS[replay.backend].DETECTOR
    changed = {key: grid[key][dice.integers(len(grid[key]))] for key in dice.choice(keys, dice.integers(1, 5))}
    if dice.random() < 0.2:
        changed[f"{group}.box_threshold.tree"] = 0.7
    if dice.random() < 0.2:
        changed["ignore.confident_threshold_label_free.car"] = 0.6
    return {**replay.settings, **changed}


@pytest.mark.parametrize("backend", ["dino_sam", "sam_3"])
def test_counts_are_those_of_plain_seeds(backend, request):
    """Settings change one after the other, so that most steps are looked up from any of the earlier ones."""
    replay: Replay = request.getfixturevalue(backend)
    dice, bench = np.random.default_rng(0), replay.bench()
    replay.check(replay.settings, bench)
    for _ in range(40 if backend == "dino_sam" else 15):
        replay.check(random_settings(replay, dice), bench)


@pytest.mark.parametrize("backend", ["dino_sam", "sam_3"])
def test_each_setting_alone(backend, request):
    replay: Replay = request.getfixturevalue(backend)
    bench = replay.bench()
    for key, values in {**GRIDS[replay.backend], **OTHER}.items():
        if key in replay.settings:
            replay.check({**replay.settings, key: values[-1]}, bench)


def test_classes_that_count_as_given(dino_sam):
    """CLIP's classes count as given, so that label-free seeds depend on the settings of both modes."""
    bench, start = dino_sam.bench(), {**dino_sam.settings, "clip.decision": "classifier"}
    for key in sorted(ONLY_IN["label_given"] & start.keys()):
        dino_sam.check({**start, key: GRIDS["dino-sam"].get(key, [0.3])[-1]}, bench)


def test_settings_of_one_mode_are_not_measured_in_the_other(dino_sam, monkeypatch):
    bench, modes = dino_sam.bench(), []
    bench.measure(dino_sam.settings)
    seeder = bench._seeder
    monkeypatch.setattr(bench, "_seeder", lambda settings, mode: [modes.append(mode), seeder(settings, mode)][1])
    bench.measure({**dino_sam.settings, "verify.weight": 0.9, "detector.fallback_threshold": 0.11})
    bench.measure({**dino_sam.settings, "verify.weight_label_given": 0.9, "ignore.confident_threshold.car": 0.9})
    assert modes == ["label_free", "label_given"]


def test_little_memory_changes_nothing(dino_sam, monkeypatch):
    monkeypatch.setattr(counting, "REMEMBERED", 0)
    monkeypatch.setattr(counting, "MOST_MASKS", 1)
    dice, bench = np.random.default_rng(1), dino_sam.bench()
    for _ in range(5):
        dino_sam.check(random_settings(dino_sam, dice), bench)
    assert not any(seen.results or seen.detections for seen in bench._seen)


def test_what_is_known_is_not_computed_again(dino_sam, monkeypatch):
    bench = dino_sam.bench()
    first = bench.measure(dino_sam.settings)
    for name in ("verify", "fuse", "nms"):
        monkeypatch.setattr(
            f"wsss_seed.seeding.detection.seeder.{name}", lambda *_, **__: pytest.fail("computed again")
        )
    again = bench.measure({**dino_sam.settings, "ignore.confident_threshold": 0.3001})
    assert np.array_equal(first, again)


def test_presence(dino_sam):
    """Without ground truth, the classes that are found are compared with those that an image shows."""
    images = [replace(example, truth=None) for example in dino_sam.images]
    for settings in (dino_sam.settings, {**dino_sam.settings, "detector.box_threshold": 0.9}):
        counts = dino_sam.bench(images).measure(settings)
        for i, (example, seed) in enumerate(dino_sam.seeds(settings, "label_free")):
            hits, alarms, misses = counts[i, 1].T.astype(bool)
            assert set(np.flatnonzero(hits)) == set(seed.present) & set(example.classes)
            assert set(np.flatnonzero(alarms)) == set(seed.present) - set(example.classes)
            assert set(np.flatnonzero(misses)) == set(example.classes) - set(seed.present)
