"""Settings of dino-sam: every key with its default, checked overrides, values of single classes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from wsss_seed.config import override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.dino_sam.settings import PER_CLASS, Settings, check_thresholds, flatten, per_class

DEFAULTS = {
    "mode": "auto",
    "clip.scale": 100.0,
    "clip.views": [2, 3],
    "clip.local_weight": 0.5,
    "clip.tau_glob": 0.10,
    "clip.tau_loc": 0.25,
    "gd.caption": "joint",
    "gd.box_thr": 0.30,
    "gd.low_thr": 0.20,
    "gd.rescue_thr": 0.15,
    "gd.fallback_thr": 0.20,
    "map.score": "span_mean_max",
    "nms.per_class": 0.70,
    "nms.cross_class": 0.90,
    "box.min_side": 4,
    "box.min_area": 0.0002,
    "box.max_cover": 0.95,
    "box.cover_score": 0.40,
    "box.inside": 0.90,
    "box.group_cover": 0.80,
    "box.limit": 100,
    "verify.enabled": True,
    "verify.expand": 0.10,
    "verify.min_side": 32,
    "verify.small_factor": 0.9,
    "verify.accept": 0.20,
    "verify.relabel": 0.60,
    "verify.relabel_below": 0.10,
    "verify.weight": 0.3,
    "verify.floor": 0.01,
    "sam.mask": "single",
    "sam.clip_box_expand": 0.05,
    "sam.min_area": 100,
    "sam.min_cover": 0.05,
    "sam.min_iou": 0.50,
    "sam.core": 0.50,
    "fuse.policy": "area",
    "fuse.dup_iou": 0.80,
    "fuse.contained": 0.80,
    "fuse.exact": False,
    "ignore.high": 0.30,
    "ignore.high_free": 0.35,
    "ignore.low": 0.20,
    "ignore.contest_delta": 0.05,
    "ignore.boundary": 0,
    "ignore.cap": 0.60,
}


def test_every_setting_has_its_default():
    flat = flatten(Settings())
    assert {k: flat[k] for k in DEFAULTS} == DEFAULTS
    assert len(flat["clip.templates"]) == 8


def test_flat_settings_are_json_and_come_back():
    changed = override(
        Settings(),
        {
            "gd.box_thr": 0.4,
            "clip.views": [2],
            "mode": "label_free",
            "fuse.exact": True,
            "sam.mask": "multi_best",
            "clip.templates": ["a {}"],
        },
    )
    flat = json.loads(json.dumps(flatten(changed)))
    assert override(Settings(), flat) == changed
    assert changed != Settings()
    assert changed.gd.box_thr == 0.4
    assert changed.clip.views == (2,)
    assert Settings().gd.box_thr == 0.30


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gd.box_th": 0.4}, ["gd.box_th", "gd.box_thr"]),
        ({"gd": {"box_thr": 0.4}}, ["'gd'"]),
        ({"gd.box_thr": 1.5}, ["gd.box_thr", "0 to 1"]),
        ({"gd.box_thr": float("nan")}, ["gd.box_thr"]),
        ({"gd.box_thr": "0.4"}, ["gd.box_thr", "number"]),
        ({"gd.box_thr": True}, ["gd.box_thr"]),
        ({"box.min_side": 4.5}, ["box.min_side", "whole"]),
        ({"box.limit": 0}, ["box.limit", "1"]),
        ({"sam.mask": "multi"}, ["sam.mask", "multi_best"]),
        ({"verify.enabled": 1}, ["verify.enabled", "true or false"]),
        ({"clip.views": 3}, ["clip.views", "list"]),
        ({"clip.views": [0]}, ["clip.views"]),
        ({"clip.templates": [1]}, ["clip.templates", "text"]),
        ({"mode": "free"}, ["mode", "label_free"]),
    ],
)
def test_a_wrong_value_or_key_is_one_clear_line(values, words):
    with pytest.raises(WsssError) as error:
        override(Settings(), values)
    text = str(error.value)
    assert all(w in text for w in words), text
    assert "\n" not in text


def test_whole_numbers_are_numbers_too():
    assert isinstance(override(Settings(), {"clip.scale": 50}).clip.scale, float)


def test_a_class_set_overrides_a_threshold_for_single_classes():
    classes = replace(load_class_set("cat, dog, cow"), thresholds={"gd.box_thr": {"cow": 0.25}})
    values = per_class(override(Settings(), {"gd.box_thr": 0.4}), "gd.box_thr", classes)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0.4, 0.4, 0.25])
    np.testing.assert_allclose(per_class(Settings(), "ignore.low", classes), [0.2] * 3)


@pytest.mark.parametrize("thresholds", [{"gd.box_thr": {"horse": 0.2}}, {"gd.box_thr": {"cat": 2.0}}])
def test_wrong_thresholds_of_a_class_set_are_refused(thresholds):
    with pytest.raises(WsssError):
        per_class(Settings(), "gd.box_thr", replace(load_class_set("cat, dog"), thresholds=thresholds))


def test_only_some_settings_can_differ_between_classes():
    classes = load_class_set("cat, dog")
    check_thresholds(replace(classes, thresholds={key: {"cat": 0.5} for key in PER_CLASS}))
    check_thresholds(replace(classes, thresholds={"another.backend": {"cat": 0.5}}))
    with pytest.raises(WsssError, match=r"fuse\.dup_iou"):
        check_thresholds(replace(classes, thresholds={"fuse.dup_iou": {"cat": 0.5}}))
