"""What decided about a box, in words: the value and the setting that it met or missed."""

import numpy as np
import pytest

from wsss_seed.config import flatten
from wsss_seed.seeding.detection.detection_filter import drop_small, nms
from wsss_seed.seeding.detection.detections import Detections, Reason
from wsss_seed.seeding.detection.explain import BoxEvidence, Thresholds, in_short, read_boxes, why
from wsss_seed.seeding.dino_sam.settings import Settings
from wsss_seed.seeding.sam3.settings import Settings as Sam3Settings

SIZE = (200, 100)


def box(reason=Reason.NONE, role="dropped", cls="cat", at=(10, 10, 60, 60), score=0.4, **more):
    return BoxEvidence(cls, at, score, role, reason.text, **{"combined_score": score, **more})


def explained(*boxes, mode="label_free", classes=20, **settings):
    thresholds = Thresholds({**flatten(Settings()), **settings}, classes)
    return why(boxes, 0, mode, SIZE, thresholds)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (box(Reason.TOO_SMALL, at=(0, 0, 3, 50)), "shorter side of 3.0 pixels < box.min_side 4"),
        (box(Reason.TOO_SMALL, at=(0, 0, 4, 5)), "0.001 of the image < box.min_area 0.002"),
        (
            box(Reason.TOO_LARGE, at=(0, 0, 200, 99), score=0.33),
            "0.990 of the image > box.max_area 0.95, and detector score 0.330 < box.large_threshold 0.4",
        ),
        (box(Reason.GROUP_BOX), "boxes of its class inside it cover at least 0.8 of it"),
        (
            box(Reason.REJECTED, crop_probability=0.05),
            "crop probability 0.050 < verify.accept_threshold 0.2, and its class is not among the first of",
        ),
        (box(Reason.MAX_DETECTIONS), "more boxes than box.max_detections 100"),
        (box(Reason.LOW_SCORE, combined_score=0.15), "combined score 0.150 < ignore.ambiguous_threshold 0.2"),
        (
            box(Reason.LOW_SCORE, score=0.1, combined_score=0.25),
            "detector score 0.100 < detector.ambiguous_threshold 0.2",
        ),
        (
            box(Reason.INVALID_MASK, "ambiguous", predicted_iou=0.4),
            "predicted IoU of its mask 0.400 < mask.pred_iou_thresh 0.5",
        ),
        (
            box(Reason.INVALID_MASK, "ambiguous", predicted_iou=0.9),
            "its mask covers less of the box than mask.min_box_coverage 0.05",
        ),
        (box(Reason.DUPLICATE_MASK, "ambiguous"), "fusion.iou_threshold 0.8"),
        (box(Reason.DISTRACTOR), "a common object that is none of the classes"),
        (box(Reason.NO_SURVIVOR), "no box was confident"),
        (
            box(role="confident", score=0.5),
            "detector score 0.500 > detector.box_threshold 0.3, combined score 0.500 >= "
            "ignore.confident_threshold_label_free 0.35",
        ),
        (box(role="confident", score=0.25), "best box, as none was confident: score 0.250 >= detector.fallback_thresh"),
        (box(role="ambiguous", score=0.25), "detector score 0.250 <= detector.box_threshold 0.3"),
        (
            box(role="ambiguous", combined_score=0.32),
            "combined score 0.320 < ignore.confident_threshold_label_free 0.35",
        ),
        (box(role="ambiguous", combined_score=0.1), "0.100 < ignore.ambiguous_threshold 0.2; kept, as it is the best"),
    ],
)
def test_the_value_and_its_threshold(found, text):
    settings = {"box.min_area": 0.002} if "min_area" in text else {}
    assert text in explained(found, **settings)


def test_every_reason_has_words():
    for reason in Reason:
        if reason is not Reason.NONE:
            assert explained(box(reason)) != reason.name.lower().replace("_", " ")


def test_given_labels():
    assert "score 0.150 >= detector.rescue_threshold 0.1" in explained(
        box(role="confident", score=0.15), mode="label_given"
    )
    assert "ignore.confident_threshold 0.3" in explained(box(role="confident"), mode="label_given")
    assert explained(box(role="confident"), mode="boxes_given") == "given box"


def test_the_box_that_suppressed_another():
    twin = box(role="confident", at=(10, 10, 60, 55), score=0.9)
    assert explained(box(Reason.NMS), twin) == "IoU 0.90 with box 2 of its class > nms.iou_threshold 0.7"
    other = box(role="confident", at=(10, 10, 60, 58), cls="dog", score=0.9)
    text = explained(box(Reason.CROSS_CLASS_NMS), twin, other)
    assert text == "IoU 0.96 with box 3 of another class >= nms.cross_class_iou_threshold 0.9"
    assert explained(box(role="ambiguous"), other, mode="label_given").endswith("the last box of a given class")
    rejected = explained(box(Reason.REJECTED, crop_probability=0.05), other)
    assert rejected.endswith("that of another candidate >= verify.relabel_threshold 0.6")
    assert "accept_top_k" in rejected
    assert "accept_top_k" not in explained(box(Reason.REJECTED, crop_probability=0.05), classes=4)


def test_the_iou_is_the_one_of_the_filter():
    boxes = np.array([[10, 10, 60, 60], [10, 10, 60, 46], [10, 10, 60, 44]], np.float32)
    n = len(boxes)
    found = Detections.of(boxes, np.zeros(n, int), np.float32([0.9, 0.8, 0.7]), np.arange(n), np.ones(n, bool))
    found = drop_small(nms(found, 0.7), SIZE, Settings().box)
    evidence = [
        BoxEvidence("cat", tuple(b.tolist()), float(s), "dropped" if r else "confident", Reason(r).text)
        for b, s, r in zip(found.boxes, found.scores, found.reason, strict=True)
    ]
    assert [b.reason for b in evidence] == ["", "nms", ""]
    assert why(evidence, 1, "label_free", SIZE, Thresholds(flatten(Settings()), 20)).startswith("IoU 0.72 with box 1")


def test_thresholds_of_a_class_and_of_sam3():
    assert "detector.box_threshold.cat 0.6" in explained(
        box(role="ambiguous", score=0.5), **{"detector.box_threshold.cat": 0.6}
    )
    thresholds = Thresholds(flatten(Sam3Settings()), 20)
    assert "sam3.box_threshold 0.5" in why([box(role="ambiguous")], 0, "label_free", SIZE, thresholds)
    invalid = box(Reason.INVALID_MASK, "ambiguous")
    assert "mask.min_box_coverage" in why([invalid], 0, "label_free", SIZE, thresholds)


def test_settings_that_lack_a_threshold():
    with pytest.raises(ValueError, match=r"box\.min_side"):
        why([box(Reason.TOO_SMALL)], 0, "label_free", SIZE, Thresholds({}, 20))


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"class": "cat", "box": [0, 0, 1], "score": 1, "role": "confident"},
        {"class": "cat", "box": [0, 0, 1, 1], "score": 1, "role": "loud"},
        {"class": "cat", "box": [0, 0, 1, float("inf")], "score": 1, "role": "confident"},
    ],
)
def test_damaged_evidence(entry):
    with pytest.raises(ValueError, match=r"\w"):
        read_boxes({"detections": [entry]})


def test_evidence_without_boxes():
    assert read_boxes({"masks": 6}) == ()


def test_every_reason_has_a_short_form():
    for reason in Reason:
        box = BoxEvidence("cat", (0, 0, 9, 9), 0.5, "dropped" if reason else "confident", reason.text)
        assert bool(in_short(box)) == bool(reason)
        assert "_" not in in_short(box)
    assert in_short(BoxEvidence("cat", (0, 0, 9, 9), 0.5, "ambiguous")) == "score not high enough"
    assert in_short(BoxEvidence("cat", (0, 0, 9, 9), 0.5, "dropped", "of_a_later_version")) == "of a later version"
