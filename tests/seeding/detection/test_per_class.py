"""Thresholds of single classes among the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import UsageError
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.seeding.detection.per_class import split_thresholds, thresholds_of, with_thresholds
from wsss_seed.seeding.dino_sam import Settings, build

CLASSES = replace(load_class_set("toyland"), thresholds={"detector.box_threshold": {"car": 0.4, "cup": 0.5}})
OWN = {"detector.box_threshold.car": 0.2, "ignore.confident_threshold.fish": 1}


def test_settings_of_classes_replace_those_of_the_class_set():
    found = with_thresholds(CLASSES, Settings(), OWN)
    assert found.thresholds == {
        "detector.box_threshold": {"car": 0.2, "cup": 0.5},
        "ignore.confident_threshold": {"fish": 1.0},
    }
    assert CLASSES.thresholds["detector.box_threshold"]["car"] == 0.4
    assert thresholds_of(found, Settings()) == {**OWN, "detector.box_threshold.cup": 0.5}
    assert with_thresholds(CLASSES, Settings(), thresholds_of(found, Settings())) == found


def test_common_settings_are_others():
    assert split_thresholds({"mode": "auto", "nms.iou_threshold": 0.5, **OWN}) == (
        {"mode": "auto", "nms.iou_threshold": 0.5},
        OWN,
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("detector.box_threshold.cat", 0.3, "unknown class in setting detector.box_threshold.cat: 'cat'"),
        ("nms.iou_threshold.car", 0.3, "unknown setting that classes can have of their own"),
        ("detector.box_threshold.car", 3, "setting detector.box_threshold = 3: expected a number from 0 to 1"),
    ],
)
def test_what_cannot_be(key, value, message):
    with pytest.raises(UsageError, match=message):
        with_thresholds(CLASSES, Settings(), {key: value})


def test_the_backend_takes_them_and_says_so():
    seeder = build(BackendRequest(load_class_set("toyland"), ModelSet("tiny", "cpu"), OWN))
    assert {key: seeder.settings[key] for key in OWN} == OWN
    assert seeder.settings["detector.box_threshold"] == 0.2
