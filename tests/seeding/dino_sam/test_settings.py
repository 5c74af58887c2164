"""Settings of dino-sam: every key with its default, checked overrides, values of single classes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.detection.settings import check_thresholds, per_class
from wsss_seed.seeding.dino_sam import Settings

DEFAULTS = {
    "mode": "auto",
    "clip.logit_scale": 0.0,
    "clip.grids": [2, 3],
    "clip.local_weight": 0.5,
    "clip.global_threshold": 0.10,
    "clip.local_threshold": 0.25,
    "detector.caption": "joint",
    "detector.box_threshold": 0.30,
    "detector.ambiguous_threshold": 0.20,
    "detector.rescue_threshold": 0.10,
    "detector.fallback_threshold": 0.20,
    "detector.phrase_score": "span_mean_max",
    "nms.iou_threshold": 0.70,
    "nms.cross_class_iou_threshold": 0.90,
    "box.min_side": 4,
    "box.min_area": 0.0002,
    "box.max_area": 0.95,
    "box.large_threshold": 0.40,
    "box.max_detections": 100,
    "verify.enabled": True,
    "verify.context": 0.10,
    "verify.min_side": 32,
    "verify.accept_threshold": 0.20,
    "verify.relabel_threshold": 0.60,
    "verify.relabel_below": 0.10,
    "verify.crop": "tight",
    "verify.trust_threshold": 0.50,
    "verify.accept_top_k": 2,
    "verify.relabel": False,
    "verify.weight": 0.15,
    "verify.weight_label_given": 0.0,
    "mask.output": "single",
    "mask.box_expand": 0.05,
    "mask.min_region_area": 100,
    "mask.min_box_coverage": 0.05,
    "mask.pred_iou_thresh": 0.50,
    "fusion.order": "area",
    "fusion.iou_threshold": 0.80,
    "fusion.per_pixel": False,
    "ignore.confident_threshold": 0.30,
    "ignore.confident_threshold_label_free": 0.35,
    "ignore.ambiguous_threshold": 0.20,
    "ignore.contest_margin": 0.05,
    "ignore.boundary": 0,
}


def test_every_setting_has_its_default():
    flat = flatten(Settings())
    assert {k: flat[k] for k in DEFAULTS} == DEFAULTS
    assert len(flat["clip.templates"]) == 8


def test_flat_settings_are_json_and_come_back():
    changed = override(
        Settings(),
        {
            "detector.box_threshold": 0.4,
            "clip.grids": [2],
            "mode": "label_free",
            "fusion.per_pixel": True,
            "mask.output": "best",
            "clip.templates": ["a {}"],
        },
    )
    flat = json.loads(json.dumps(flatten(changed)))
    assert override(Settings(), flat) == changed
    assert changed != Settings()
    assert changed.detector.box_threshold == 0.4
    assert changed.clip.grids == (2,)
    assert Settings().detector.box_threshold == 0.30


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"detector.box_thr": 0.4}, ["detector.box_thr", "detector.box_threshold"]),
        ({"detector": {"box_threshold": 0.4}}, ["'detector'"]),
        ({"detector.box_threshold": 1.5}, ["detector.box_threshold", "0 to 1"]),
        ({"detector.box_threshold": float("nan")}, ["detector.box_threshold"]),
        ({"detector.box_threshold": "0.4"}, ["detector.box_threshold", "number"]),
        ({"detector.box_threshold": True}, ["detector.box_threshold"]),
        ({"box.min_side": 4.5}, ["box.min_side", "whole"]),
        ({"box.max_detections": 0}, ["box.max_detections", "1"]),
        ({"mask.output": "two"}, ["mask.output", "best"]),
        ({"verify.enabled": 1}, ["verify.enabled", "true or false"]),
        ({"clip.grids": 3}, ["clip.grids", "list"]),
        ({"clip.grids": [0]}, ["clip.grids"]),
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
    assert isinstance(override(Settings(), {"clip.logit_scale": 50}).clip.logit_scale, float)


def test_a_class_set_overrides_a_threshold_for_single_classes():
    classes = replace(load_class_set("cat, dog, cow"), thresholds={"detector.box_threshold": {"cow": 0.25}})
    values = per_class(override(Settings(), {"detector.box_threshold": 0.4}), "detector.box_threshold", classes)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0.4, 0.4, 0.25])
    np.testing.assert_allclose(per_class(Settings(), "ignore.ambiguous_threshold", classes), [0.2] * 3)


@pytest.mark.parametrize(
    "thresholds", [{"detector.box_threshold": {"horse": 0.2}}, {"detector.box_threshold": {"cat": 2.0}}]
)
def test_wrong_thresholds_of_a_class_set_are_refused(thresholds):
    classes = replace(load_class_set("cat, dog"), thresholds={"detector.box_threshold": thresholds})
    with pytest.raises(WsssError):
        per_class(Settings(), "detector.box_threshold", classes)


def test_only_some_settings_can_differ_between_classes():
    classes = load_class_set("cat, dog")
    check_thresholds(
        Settings(), replace(classes, thresholds={key: {"cat": 0.5} for key in Settings().per_class_keys()})
    )
    check_thresholds(Settings(), replace(classes, thresholds={"another.backend": {"cat": 0.5}}))
    with pytest.raises(WsssError, match=r"fusion\.iou_threshold"):
        check_thresholds(Settings(), replace(classes, thresholds={"fusion.iou_threshold": {"cat": 0.5}}))
