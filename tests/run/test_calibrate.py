"""Calibration on drawn images with the real miniatures, from thresholds that do not suit them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wsss_seed as ws
from wsss_seed.config import flatten, override
from wsss_seed.data.classes import IGNORE, load_class_set
from wsss_seed.errors import DataError, RunFolderError, UsageError
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.io.png import write_mask
from wsss_seed.models.recorder import recorded
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run import calibrate as room
from wsss_seed.run.calibrate import (
    FEWEST_IMAGES,
    GRID,
    PRESENCE,
    Calibration,
    calibrate,
    config_file,
    examples,
    mean_f1,
    mean_iou,
)
from wsss_seed.run.model_outputs import RecordingSeeder
from wsss_seed.run.search import Gain
from wsss_seed.seeding.dino_sam import DinoSam, Settings

CLASSES = load_class_set("toyland")
SMALL = {
    "detector.box_threshold": [0.2, 0.3, 0.5],
    "ignore.confident_threshold_label_free": [0.2, 0.4],
    "mask.min_region_area": [8, 100],
}
BASE = {"verify.min_side": 8, "clip.logit_scale": 15.0, "mask.box_expand": 0.1}


@pytest.fixture(scope="module")
def models():
    return ModelSet("tiny", "cpu")


@pytest.fixture(scope="module")
def world():
    return ws.open_dataset("toyland", split="val", images=FEWEST_IMAGES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """What the models say about the images is asked for once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def found(world, models, cache) -> Calibration:
    start = {**BASE, "ignore.confident_threshold_label_free": 0.9}
    with pytest.MonkeyPatch.context() as patch:  # a model set that was calibrated badly
        patch.setattr(type(models), "settings", lambda *_: start)
        return calibrate(world, models, cache=cache, grid=SMALL)


def test_every_setting_of_the_grid_is_one():
    settings = Settings()
    for key, values in GRID.items():
        if key in flatten(settings):
            for value in values:
                override(settings, {key: value})
    assert len([key for key in GRID if key in flatten(settings)]) > 20
    assert set(PRESENCE) <= set(GRID)
    assert {key.split(".")[0] for key in GRID} <= {key.split(".")[0] for key in flatten(settings)}


def test_unsuited_thresholds_are_found(found):
    assert found.changes["ignore.confident_threshold_label_free"] <= 0.4
    assert found.gain.certain
    assert found.after > found.before + 0.05
    assert found.criterion == "mIoU"
    assert found.modes == ("label_given", "label_free")
    assert found.images == FEWEST_IMAGES


def test_the_file_says_on_what_and_is_read_as_settings(found, world, models):
    text = config_file(found, world, models, "dino-sam")
    for part in (
        "20 of toyland val, with ground truth",
        "label_given and label_free",
        "cross-validation, 5 folds",
        "clip",
    ):
        assert part in " ".join(text.replace("#", "").split())
    assert all(len(line) <= 120 for line in text.splitlines())
    assert tomllib.loads(text)["settings"] == dict(found.settings)
    assert found.settings.items() >= found.changes.items()


def test_the_next_time_no_model_is_run(world, cache, found, monkeypatch):
    models = ModelSet("tiny", "cpu")
    monkeypatch.setattr(ModelSet, "require", lambda *_: pytest.fail("a model is loaded"))
    start = {**BASE, "ignore.confident_threshold_label_free": 0.9}
    monkeypatch.setattr(ModelSet, "settings", lambda *_: start)
    again = calibrate(world, models, cache=cache, grid=SMALL)
    assert again == found


def test_good_thresholds_stay(world, models, cache):
    """The values of the model set were chosen on 250 images; nothing near them is better beyond chance."""
    grid = {"detector.box_threshold": [0.2, 0.25], "ignore.contest_margin": [0.02, 0.05]}
    again = calibrate(world, models, cache=cache, grid=grid)
    assert not again.gain.certain
    assert again.changes == again.settings == {}
    assert "no gain beyond chance" in config_file(again, world, models, "dino-sam")


def test_given_settings_are_not_chosen(world, models, cache):
    again = calibrate(world, models, cache=cache, grid=SMALL, fixed={"detector.box_threshold": 0.45})
    assert "detector.box_threshold" not in again.changes
    assert again.settings["detector.box_threshold"] == 0.45


def test_from_the_defaults_the_file_undoes_what_the_set_has(world, models, cache):
    again = calibrate(world, models, cache=cache, grid={}, from_defaults=True)
    assert again.settings["clip.logit_scale"] == 0.0
    effective = override(override(Settings(), models.settings("dino-sam")), again.settings)
    assert effective == Settings()


def test_the_replay_counts_what_seeds_are(world, models, cache):
    """With what was painted before remembered, and without."""
    images = examples(world, None, None)
    recorder = RecordingSeeder("dino-sam", CLASSES, models, {})
    outputs = room._ask(recorder, images, models, cache, None)
    own = recorded(models, recorder.memory)
    bench = room._Bench(world, images, ("label_given", "label_free"), own, recorder.memory, outputs)
    base = override(Settings(), models.settings("dino-sam"))
    changes = [
        {},
        {"verify.weight": 0.1},
        {"ignore.contest_margin": 0.3},
        {"fusion.per_pixel": True, "ignore.boundary": 1},
        {"fusion.order": "score", "mask.output": "whole"},
        {"ignore.contest_margin": 0.0, "detector.box_threshold.tree": 0.7},
        {"mask.box_expand": 0.0, "nms.iou_threshold": 0.3},
    ]
    for change in changes:
        settings = {**flatten(base), **change}
        counts = bench.measure({key: value for key, value in settings.items() if key != "mode"})
        for j, mode in enumerate(("label_given", "label_free")):
            classes = CLASSES
            common = {k: v for k, v in settings.items() if k.count(".") < 2}
            if len(common) < len(settings):
                classes = replace(CLASSES, thresholds={"detector.box_threshold": {"tree": 0.7}})
            seeder = DinoSam(classes, own.clip, own.sam, own.detector, override(base, {**common, "mode": mode}))
            for i, example in enumerate(images[:8]):
                recorder.memory.outputs = outputs[i]
                labels = seeder.seed(example.loaded).labels
                assert np.array_equal(counts[i, j], confusion_matrix(joint_histogram(example.truth, labels), 13)), (
                    change
                )


def test_labels_alone_judge_which_classes_are_found(world, models, cache, monkeypatch):
    without = ws.open_dataset("toyland", split="val", images=FEWEST_IMAGES)
    without.drawn = False
    start = {**BASE, "detector.box_threshold": 0.9, "detector.candidate_threshold": 1.0}
    monkeypatch.setattr(ModelSet, "settings", lambda *_: start)
    again = calibrate(without, models, cache=cache, grid=SMALL)
    assert again.criterion == "F1"
    assert again.modes == ("label_free",)
    assert set(again.changes) == {"detector.box_threshold"}
    assert again.after > again.before
    assert "with image-level labels" in config_file(again, without, models, "dino-sam")
    with pytest.raises(UsageError, match="image-level labels alone cannot judge mode label_given"):
        calibrate(without, models, cache=cache, fixed={"mode": "label_given"})


def test_figures():
    matrix = np.array([[8, 2, 0], [0, 5, 5]])  # the last column is ignored, which counts as background
    assert mean_iou(np.stack([matrix, matrix])) == pytest.approx((8 / 15 + 5 / 12) / 2)
    counts = np.array([[[3, 1, 0], [0, 4, 0], [1, 0, 3]]])  # hits, false alarms, misses; no image shows the second
    assert mean_f1(counts) == pytest.approx((6 / 7 + 2 / 5) / 2)


# ground truth


@pytest.fixture
def photos(world, tmp_path) -> Path:
    """A folder of images, and beside it one of their ground truth."""
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for sample in world:
        Image.fromarray(world.image(sample)).save(tmp_path / "photos" / f"{sample.id}.png")
        write_mask(tmp_path / "gt" / f"{sample.id}.png", world.mask(sample), CLASSES.palette)
    return tmp_path / "photos"


def folder(photos: Path, classes: str = "toyland"):
    return ws.open_dataset("folder", photos, classes=classes)


def test_a_folder_of_ground_truth(world, photos):
    gt = photos.parent / "gt"
    images = examples(folder(photos), gt, None)
    assert [e.loaded.sample.id for e in images] == [s.id for s in world]
    for example, sample in zip(images, world, strict=True):
        assert np.array_equal(example.truth, world.mask(sample))
        assert example.classes == tuple(v - 1 for v in np.unique(world.mask(sample)).tolist() if v not in (0, IGNORE))


def test_ground_truth_that_does_not_match(world, photos):
    gt, ids = photos.parent / "gt", [sample.id for sample in world]
    data = folder(photos)
    with pytest.raises(DataError, match=r"no label map of the 20 images, such as .*\.png; check `gt`"):
        examples(data, photos.parent, None)
    write_mask(gt / f"{ids[0]}.png", np.zeros((5, 6), np.uint8), CLASSES.palette)
    with pytest.raises(DataError, match=rf"{ids[0]}\.png: the label map is 6x5, its image \d+x\d+: correct"):
        examples(data, gt, None)
    write_mask(gt / f"{ids[1]}.png", np.full_like(world.mask(world[1]), 77), CLASSES.palette)
    with pytest.raises(DataError, match="; 2 images in all: correct the ground truth"):
        examples(data, gt, None)
    (gt / f"{ids[0]}.png").unlink()
    (gt / f"{ids[2]}.png").unlink()
    with pytest.raises(DataError, match="18 images with ground truth; calibrating needs at least 20"):
        examples(data, gt, None)
    for i in (0, 1, 2):
        write_mask(gt / f"{ids[i]}.png", world.mask(world[i]), CLASSES.palette)
    with pytest.raises(DataError, match=r"label values .* are outside 0\.\.2 and 255; check the class set"):
        examples(folder(photos, "cat, dog"), gt, None)


def test_too_few_images_and_none_annotated(world, photos, models):
    with pytest.raises(DataError, match="5 images with ground truth; calibrating needs at least 20, better 50"):
        examples(world, None, 5)
    with pytest.raises(DataError, match="0 images with ground truth or image-level labels"):
        examples(folder(photos), None, None)


def test_a_cache_of_other_weights(world, cache, found):
    with pytest.raises(RunFolderError, match=r"other weights .*\(clip .*\); .* or choose another `cache`"):
        calibrate(world, ModelSet("tiny", "cpu", clip="tiny-regions"), cache=cache)


def test_only_backends_with_replay(world, models):
    with pytest.raises(UsageError, match="only dino-sam can be calibrated, not clip-sams"):
        calibrate(world, models, backend="clip-sams")
    with pytest.raises(UsageError, match="mode boxes_given has nothing to calibrate"):
        calibrate(world, models, fixed={"mode": "boxes_given"})


def test_values_in_the_file(world, models):
    nothing = Gain(0.0, 0.0)
    settings = {"a.b": 0.2, "a.c": True, "a.d": "area", "a.e": [1, 2], 'a.f.tv "x"': 1e-07, "a.g": ["a {}"]}
    made = Calibration(settings, settings, "mIoU", 0.5, 0.5, nothing, nothing, 20, {"cat": 3}, ("label_free",), 1)
    assert tomllib.loads(config_file(made, world, models, "dino-sam"))["settings"] == settings
    assert "Thresholds of single classes beyond that: +0.00 points" in config_file(made, world, models, "dino-sam")
    assert made.to_json()["per_class"] == {"cat": 3}
