"""Settings of detection: checked overrides, and values of single classes."""

from dataclasses import replace

import numpy as np
import pytest

from wsss_seed.config import override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.detection.settings import check_thresholds, per_class
from wsss_seed.seeding.dino_sam import Settings


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
