"""Settings of sam3: thresholds of its own, and otherwise those of detection."""

from dataclasses import replace

import pytest

from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.detection.settings import check_thresholds
from wsss_seed.seeding.dino_sam.settings import Settings as DinoSamSettings
from wsss_seed.seeding.sam3.settings import Settings


def test_only_the_detector_and_the_masks_differ_from_dino_sam():
    own, other = flatten(Settings()), flatten(DinoSamSettings())
    common = {key for key in own if key.split(".")[0] not in ("sam3", "mask")}
    assert {key: other[key] for key in common} == {key: own[key] for key in common}
    renamed = {key.replace("sam3.", "detector.") for key in own if key.startswith("sam3.")}
    assert renamed <= other.keys()
    assert {key for key in renamed if own[key.replace("detector.", "sam3.")] != other[key]} == {
        "detector.box_threshold",
        "detector.ambiguous_threshold",
    }
    assert {key for key in own if key.startswith("mask.")} < other.keys()  # without those of SAM's outputs


def test_thresholds_are_in_order():
    s = Settings().thresholds
    assert s == Settings().sam3
    assert s.rescue_threshold <= s.ambiguous_threshold <= s.box_threshold


@pytest.mark.parametrize("key", ["detector.box_threshold", "mask.output", "mask.pred_iou_thresh"])
def test_settings_of_models_it_does_not_have_are_unknown(key):
    with pytest.raises(WsssError, match=rf"unknown setting .*{key}"):
        override(Settings(), {key: 0.5})


def test_there_are_no_boxes_to_be_given():
    with pytest.raises(WsssError, match="boxes_given"):
        override(Settings(), {"mode": "boxes_given"})
    for mode in ("auto", "label_given", "label_free"):
        assert override(Settings(), {"mode": mode}).mode == mode


def test_a_class_set_may_set_sam_3s_own_thresholds_beside_those_of_other_detectors():
    classes = load_class_set("cat, dog")
    thresholds = {key: {"cat": 0.4} for key in ("sam3.box_threshold", "detector.box_threshold")}
    check_thresholds(Settings(), replace(classes, thresholds=thresholds))
    with pytest.raises(WsssError, match=r"sam3\.rescue_threshold cannot differ between classes"):
        check_thresholds(Settings(), replace(classes, thresholds={"sam3.rescue_threshold": {"cat": 0.4}}))
