"""Calibration on drawn images with the real miniatures, from thresholds that do not suit them."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import wsss_seed as ws
from tests.small_hf import sam3, saved
from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.models.zoo import BUNDLED, ModelSet
from wsss_seed.run import calibrate as room
from wsss_seed.run.annotated import FEWEST_IMAGES
from wsss_seed.run.calibrate import (
    GRID,
    GRIDS,
    OF_A_CLASS,
    PRESENCE,
    TOGETHER,
    Calibration,
    calibrate,
    config_file,
    mean_f1,
    mean_iou,
)
from wsss_seed.run.counting import SETTINGS
from wsss_seed.run.search import Gain
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.seeding.dino_sam import Settings

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


@pytest.mark.parametrize("backend", SETTINGS)
def test_every_setting_of_the_grid_is_one(backend):
    settings, grid = SETTINGS[backend](), GRIDS[backend]
    for key, values in grid.items():
        if key in flatten(settings):
            for value in values:
                override(settings, {key: value})
    assert len([key for key in grid if key in flatten(settings)]) > 20
    assert {*room._full(backend, PRESENCE), *room._full(backend, OF_A_CLASS)} <= set(grid)
    assert {key for keys in TOGETHER for key in room._full(backend, keys)} <= set(grid)


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
    again = calibrate(world, models, cache=cache, grid=SMALL, fixed={"box_threshold": 0.45})
    assert "detector.box_threshold" not in again.changes
    assert again.settings["detector.box_threshold"] == 0.45


def test_from_the_defaults_the_file_undoes_what_the_set_has(world, models, cache):
    again = calibrate(world, models, cache=cache, grid={}, from_defaults=True)
    assert again.settings["clip.logit_scale"] == 0.0
    effective = override(override(Settings(), models.settings("dino-sam")), again.settings)
    assert effective == Settings()


def test_another_sam_gets_thresholds_of_its_own(world, tmp_path, monkeypatch):
    """A SAM whose weights are rounded to 3 bits still finds outlines, but no longer knows how good its masks are: the
    threshold on their predicted IoU, which suits the original, drops most of them."""
    folder = tmp_path / "rounded"
    shutil.copytree(BUNDLED["tiny"], folder)
    weights = load_file(folder / "sam.safetensors")
    for name, weight in weights.items():
        if weight.ndim >= 2:
            step = weight.float().abs().amax(tuple(range(1, weight.ndim)), keepdim=True).clamp_min(1e-8) / 3
            weights[name] = ((weight / step).round() * step).to(weight.dtype)
    save_file(weights, folder / "sam.safetensors")
    monkeypatch.setitem(BUNDLED, "rounded", folder)
    other = ModelSet("tiny", "cpu", sam="rounded")
    again = calibrate(world, other, grid={"mask.pred_iou_thresh": GRID["mask.pred_iou_thresh"]})
    assert again.changes == {"mask.pred_iou_thresh": 0.0}
    assert again.gain.certain
    assert again.after > again.before + 0.02


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


def test_a_cache_of_other_weights(world, cache, found):
    with pytest.raises(RunFolderError, match=r"other weights .*\(clip .*\); .* or choose another `cache`"):
        calibrate(world, ModelSet("tiny", "cpu", clip="tiny-regions"), cache=cache)


def test_only_backends_with_replay(world, models):
    with pytest.raises(UsageError, match="only dino-sam and sam3 can be calibrated, not clip-sams"):
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


@pytest.mark.slow
def test_sam3(world, tmp_path):
    """With a small random SAM 3, whose scores mean nothing: what is chosen is measured, whatever it is."""
    models = ModelSet("tiny", "cpu", sam=f"hf:{saved(tmp_path / 'sam3', *sam3())}")
    low = {"sam3.ambiguous_threshold": 0.1, "ignore.confident_threshold": 0.0}
    grid = {"sam3.box_threshold": [0.1, 0.5, 0.9], "mask.box_expand": [0.0, 0.1]}
    found = calibrate(world, models, backend="sam3", fixed={**low, "mode": "label_given"}, grid=grid)
    assert found.modes == ("label_given",)
    assert found.tried > 3
    assert found.settings.items() >= low.items()
    assert found.after >= found.before
    text = config_file(found, world, models, "sam3")
    assert "Settings of sam3" in text
    request = BackendRequest(CLASSES, models, tomllib.loads(text)["settings"])
    assert build_seeder("sam3", request).settings.items() >= found.settings.items()
