"""The steps of the filter, by hand-computed cases, and independent of the order of the queries."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

from tests.seeding.detection.test_detections import detections, random_detections
from wsss_seed.seeding.detection import detection_filter
from wsss_seed.seeding.detection.detection_filter import (
    add_rescued,
    assign_roles,
    cross_class_nms,
    drop_distractors,
    drop_group_boxes,
    drop_large,
    drop_small,
    keep_fallback,
    limit_detections,
    nms,
    present_classes,
)
from wsss_seed.seeding.detection.detections import Detections, Reason, Role, assign_classes
from wsss_seed.seeding.detection.settings import BoxSettings

SHAPE = (100, 100)
BOX = BoxSettings()
K = 3
HIGH, LOW, FLOOR = (np.full(K, t, np.float32) for t in (0.30, 0.20, 0.20))


def apart(*rows):
    """Rows (class, detector score, combined score), boxes that do not touch."""
    d = detections(*(([20 * i, 0, 20 * i + 10, 10], c, score) for i, (c, score, _) in enumerate(rows)))
    return replace(d, combined=np.array([combined for *_, combined in rows], np.float32))


def gone(d):
    return (~d.kept).tolist()


def reasons(d):
    return [Reason(r).text for r in d.reason]


def roles(d, given=None):
    return [Role(r).name.lower() for r in assign_roles(d, HIGH, LOW, FLOOR, given).role]


def test_no_queries_are_no_detections():
    d = assign_classes(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 2)), (0, 1), np.zeros(2), SHAPE)
    assert len(d) == 0
    for step in (
        lambda d: drop_small(d, SHAPE, BOX),
        lambda d: drop_large(d, SHAPE, BOX, label_free=False),
        lambda d: nms(d, 0.7),
        drop_group_boxes,
        lambda d: add_rescued(d, d, (0, 1), 0.15, 0.7),
        lambda d: cross_class_nms(d, 0.9),
        lambda d: limit_detections(d, 3),
        lambda d: keep_fallback(d, 0.2),
        lambda d: assign_roles(d, HIGH, LOW, FLOOR, (0, 1)),
    ):
        assert len(step(d)) == 0


def test_small_boxes_go():
    """Side < 4 px or area < 0.0002 of the image; both bounds stay."""
    d = detections(
        ([0, 0, 4, 50], 0, 0.9),
        ([0, 0, 3.9, 50], 0, 0.9),
        ([0, 0, 50, 3.9], 0, 0.9),
        ([5, 5, 5, 50], 0, 0.9),
    )
    assert gone(drop_small(d, SHAPE, BoxSettings(min_side=4, min_area=0.0002))) == [False, True, True, True]
    assert gone(drop_small(d, SHAPE, BoxSettings(min_side=0, min_area=0.0))) == [False, False, False, True]
    assert gone(drop_small(d, (1000, 1000), BoxSettings(min_side=4, min_area=0.0002))) == [False, True, True, True]
    assert gone(drop_small(d, (1001, 1000), BoxSettings(min_side=4, min_area=0.0002))) == [True, True, True, True]


WHOLE = [0, 0, 100, 96]


@pytest.mark.parametrize(
    ("large", "other", "expected"),
    [
        ((WHOLE, 0, 0.39), ([10, 10, 40, 40], 0, 0.31), True),
        ((WHOLE, 0, 0.39), ([10, 10, 40, 40], 0, 0.30), False),  # the other is not above the box threshold
        ((WHOLE, 0, 0.39), ([10, 10, 40, 40], 1, 0.90), False),  # of another class
        ((WHOLE, 0, 0.40), ([10, 10, 40, 40], 0, 0.90), False),  # not below 0.40
        (([0, 0, 100, 95], 0, 0.39), ([10, 10, 40, 40], 0, 0.90), False),  # not above 0.95 of the image
        ((WHOLE, 0, 0.39), ([10, 80, 20, 100], 0, 0.90), False),  # 0.8 of the other lies inside
    ],
)
def test_a_doubtful_large_box_goes_for_a_better_one_inside(large, other, expected):
    """Where labels are given."""
    d = detections(large, other)
    assert gone(drop_large(d, SHAPE, BOX, label_free=False)) == [expected, False]


def test_a_doubtful_large_box_goes_even_alone_where_labels_are_not_given():
    d = detections((WHOLE, 0, 0.39), (WHOLE, 1, 0.41), ([0, 0, 50, 50], 1, 0.3))
    assert gone(drop_large(d, SHAPE, BOX, label_free=True)) == [True, False, False]


def test_large_boxes_do_not_drop_each_other():
    """Of two like boxes one stays."""
    d = detections((WHOLE, 0, 0.35), (WHOLE, 0, 0.36))
    assert gone(drop_large(d, SHAPE, BOX, label_free=False)) == [True, False]


def test_duplicates_are_those_of_torchvision_s_nms():
    for seed in range(5):
        d = random_detections(seed, 80)
        scores = d.scores + np.linspace(0, 0.01, 80, dtype=np.float32)  # no ties: torchvision's are another matter
        d = Detections.of(d.boxes, d.classes, scores, d.query, d.confident)
        kept = torchvision.ops.batched_nms(*(torch.tensor(x) for x in (d.boxes, d.scores, d.classes)), 0.5)
        assert sorted(kept.tolist()) == np.flatnonzero(nms(d, 0.5).kept).tolist()


def test_duplicates_need_more_than_the_iou_and_the_same_class():
    """IoU exactly 0.7 stays."""
    a, b, c = [0, 0, 100, 100], [0, 0, 100, 70], [0, 0, 100, 71]
    assert gone(nms(detections((a, 0, 0.9), (b, 0, 0.8)), 0.70)) == [False, False]
    assert gone(nms(detections((a, 0, 0.8), (c, 0, 0.9)), 0.70)) == [True, False]
    assert gone(nms(detections((a, 0, 0.9), (c, 1, 0.8)), 0.70)) == [False, False]


GROUP = [0, 0, 40, 40]
LEFT, RIGHT = [0, 0, 20, 40], [20, 0, 40, 32]  # together 0.9 of the group


@pytest.mark.parametrize(
    ("group", "members", "expected"),
    [
        (0.5, [(LEFT, 0, 0.4), (RIGHT, 0, 0.6)], True),
        (0.6, [(LEFT, 0, 0.4), (RIGHT, 0, 0.6)], False),  # nobody is better
        (0.5, [([0, 0, 40, 36], 0, 0.6)], False),  # one member only
        (0.5, [(LEFT, 0, 0.6), (RIGHT, 1, 0.6)], False),  # of another class
        (0.5, [(LEFT, 0, 0.6), ([20, 0, 40, 23], 0, 0.6)], False),  # 0.7875 covered
        (0.5, [(LEFT, 0, 0.6), ([20, 0, 40, 24], 0, 0.6)], True),  # 0.8 covered
        (0.5, [(LEFT, 0, 0.6), (LEFT, 0, 0.6), ([0, 0, 30, 40], 0, 0.5)], False),  # the union, not the sum
        (0.5, [(LEFT, 0, 0.6), ([20, 0, 45, 40], 0, 0.6)], False),  # 0.8 of a member inside
    ],
)
def test_a_group_box_goes_for_its_members(group, members, expected):
    """At least two others inside (IoA >= 0.9), covering >= 0.8, and not the best of them."""
    d = detections((GROUP, 0, group), *members)
    assert gone(drop_group_boxes(d)) == [expected] + [False] * len(members)


def test_a_group_of_groups_is_judged_by_what_is_left():
    """The inner group goes first, and is no member of the outer one any more."""
    inner = ([0, 0, 40, 40], 0, 0.5)
    d = detections(([0, 0, 44, 40], 0, 0.5), inner, (LEFT, 0, 0.6), ([20, 0, 40, 28], 0, 0.6))
    assert gone(drop_group_boxes(d)) == [False, True, False, False]  # 0.7727 of the outer is left covered


def test_of_two_classes_on_one_object_the_better_stays():
    """IoU >= 0.90, by score times crop probability; a box that was not verified counts with probability 1."""
    a, b, c = [0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 100, 89]
    d = detections((a, 0, 0.5), (b, 1, 0.6))
    assert gone(cross_class_nms(d, 0.9)) == [True, False]
    assert gone(cross_class_nms(replace(d, crop_probs=np.float32([0.9, 0.1])), 0.9)) == [False, True]
    assert gone(cross_class_nms(replace(d, crop_probs=np.float32([np.nan, 0.7])), 0.9)) == [False, True]
    assert gone(cross_class_nms(detections((a, 0, 0.5), (c, 1, 0.6)), 0.9)) == [False, False]
    assert gone(cross_class_nms(detections((a, 0, 0.5), (b, 0, 0.6)), 0.9)) == [False, False]


def test_the_last_box_of_a_given_class_is_demoted_not_dropped():
    """It becomes ambiguous."""
    box = [0, 0, 10, 10]
    d = detections((box, 0, 0.5), (box, 1, 0.8), (box, 1, 0.7))
    d = cross_class_nms(replace(d, crop_probs=np.float32([0.9, 0.5, 0.5])), 0.9, (0, 1))
    assert reasons(d) == ["", "", "cross_class_nms"]
    assert d.demoted.tolist() == [False, True, False]
    assert roles(d, (0, 1)) == ["confident", "ambiguous", "dropped"]


def test_a_given_class_with_another_box_loses_this_one():
    box = [0, 0, 10, 10]
    d = detections((box, 0, 0.5), (box, 1, 0.8), ([50, 50, 60, 60], 1, 0.31))
    d = cross_class_nms(replace(d, crop_probs=np.float32([0.9, 0.5, 0.5])), 0.9, (0, 1))
    assert reasons(d) == ["", "cross_class_nms", ""]
    assert not d.demoted.any()


def test_only_the_best_boxes_stay():
    """The best box of a given class stays in any case."""
    d = detections(*(([i, 0, i + 9, 9], i % 2, s) for i, s in enumerate([0.5, 0.4, 0.9, 0.3, 0.8])))
    assert gone(limit_detections(d, 2)) == [True, True, False, True, False]
    assert gone(limit_detections(d, 2, (0, 1))) == [True, False, False, True, False]


def test_boxes_of_distractors_go_and_take_weaker_boxes_on_the_same_object_with_them():
    """Class 2 and above are distractors here."""
    d = detections(
        ([0, 0, 10, 10], 0, 0.5), ([0, 0, 10, 9], 2, 0.6), ([20, 0, 30, 10], 1, 0.7), ([20, 0, 30, 10], 3, 0.6)
    )
    d = drop_distractors(d, 2, 0.7)
    assert d.classes.tolist() == [0, 1]
    assert reasons(d) == ["distractor", ""]
    assert reasons(drop_distractors(detections(([0, 0, 9, 9], 1, 0.5)), 2, 0.7)) == [""]


def test_an_image_that_may_show_no_class_need_not_keep_a_box():
    d = assign_roles(apart((1, 0.35, 0.10)), HIGH, LOW, FLOOR, None, assume_present=False)
    assert d.role.tolist() == [Role.DROPPED]


def test_a_rescued_box_is_confident_and_takes_the_place_of_what_it_overlaps():
    d = detections(([0, 0, 10, 10], 0, 0.25), ([50, 0, 60, 10], 0, 0.25), ([0, 0, 10, 10], 1, 0.9))
    found = detections(([0, 0, 10, 10], 0, 0.28), ([80, 0, 90, 10], 0, 0.27), ([0, 0, 9, 9], 2, 0.14))
    d = add_rescued(d, found, (0, 2), 0.15, 0.7)
    assert reasons(d) == ["nms", "", "", ""]
    assert d.confident.tolist() == [False, False, True, True]
    assert d.scores[3] == np.float32(0.28)
    low = assign_roles(replace(d, combined=np.full(4, 0.01, np.float32)), HIGH, LOW, FLOOR, (0, 2))
    assert Role(low.role[3]) is Role.CONFIDENT  # whatever its score, the class is there and has no better box


def test_roles_by_combined_score():
    """Confident from 0.30, ambiguous from 0.20, the bounds included."""
    d = apart((0, 0.5, 0.30), (0, 0.5, 0.29), (0, 0.5, 0.20), (0, 0.5, 0.19))
    assert roles(d) == ["confident", "ambiguous", "ambiguous", "dropped"]
    assert reasons(assign_roles(d, HIGH, LOW, FLOOR, None)) == ["", "", "", "low_score"]


def test_a_box_not_above_the_box_threshold_never_paints():
    """Below the floor it counts for nothing."""
    d = apart((0, 0.9, 0.9), (0, 0.30, 0.5), (0, 0.25, 0.5), (0, 0.15, 0.5))
    assert roles(d) == ["confident", "ambiguous", "ambiguous", "dropped"]


def test_thresholds_may_differ_between_classes():
    d = apart((0, 0.5, 0.4), (1, 0.5, 0.4), (2, 0.5, 0.4))
    d = assign_roles(d, np.float32([0.3, 0.5, 0.5]), np.float32([0.2, 0.2, 0.45]), FLOOR, None)
    assert [Role(r).name for r in d.role] == ["CONFIDENT", "AMBIGUOUS", "DROPPED"]


def test_a_given_class_keeps_its_best_box():
    """Verification never takes a given class away; its best box stays ambiguous."""
    rows = (0, 0.9, 0.9), (1, 0.35, 0.10), (1, 0.32, 0.12), (2, 0.5, 0.25), (2, 0.5, 0.1)
    assert roles(apart(*rows), (0, 1, 2)) == ["confident", "dropped", "ambiguous", "ambiguous", "dropped"]
    assert roles(apart(*rows)) == ["confident", "dropped", "dropped", "ambiguous", "dropped"]


def test_an_image_keeps_its_last_box():
    assert roles(apart((1, 0.35, 0.10))) == ["ambiguous"]


def test_the_present_classes_own_a_confident_survivor():
    """A box that was dropped, or is not above the box threshold, is no survivor."""
    d = apart((0, 0.5, 0.5), (1, 0.9, 0.9), (2, 0.25, 0.3)).with_reason(1, Reason.REJECTED)
    assert present_classes(d) == (0,)


@pytest.mark.parametrize("score", [0.25, 0.20])
def test_without_survivor_the_best_box_by_combined_score_is_kept(score):
    """If its detector score is >= 0.20."""
    d = apart((0, 0.9, 0.2), (1, score, 0.4), (2, 0.9, 0.9), (0, 0.22, 0.1))
    d = keep_fallback(d.with_reason(0, Reason.REJECTED).with_reason(2, Reason.NMS), 0.20)
    assert reasons(d) == ["rejected", "", "nms", "no_survivor"]
    assert present_classes(d) == (1,)
    assert roles(d) == ["dropped", "confident", "dropped", "dropped"]


def test_the_best_box_may_be_one_that_clip_rejected():
    """The single best box of all candidates."""
    d = keep_fallback(apart((0, 0.9, 0.42), (1, 0.25, 0.4)).with_reason(0, Reason.REJECTED), 0.20)
    assert reasons(d) == ["", "no_survivor"]
    assert present_classes(d) == (0,)


def test_nothing_is_kept_below_the_fallback_threshold():
    """Then the whole image is ignored."""
    d = keep_fallback(apart((0, 0.19, 0.3), (1, 0.1, 0.4)), 0.20)
    assert present_classes(d) == ()
    assert reasons(d) == ["no_survivor", "no_survivor"]


@pytest.mark.parametrize(
    "step",
    [
        lambda d: drop_large(d, (70, 70), BoxSettings(max_area=0.2, large_threshold=0.6), label_free=False),
        lambda d: nms(d, 0.3),
        drop_group_boxes,
        lambda d: cross_class_nms(d, 0.3, (0,)),
        lambda d: limit_detections(d, 7, (0, 1, 2)),
        lambda d: add_rescued(d, d[d.order()], (1,), 0.15, 0.3),
        lambda d: keep_fallback(d, 0.2),
        lambda d: assign_roles(d, HIGH + 0.3, LOW + 0.2, FLOOR, (0, 1, 2)),
    ],
)
def test_no_step_depends_on_the_order_of_the_queries(step, monkeypatch):
    monkeypatch.setattr(detection_filter, "INSIDE", 0.3)  # or random boxes would seldom lie inside each other
    monkeypatch.setattr(detection_filter, "GROUP_COVERAGE", 0.3)

    def outcome(d):
        d = step(d)
        rows = zip(d.boxes.tolist(), d.classes, d.scores, d.reason, d.role, d.confident, d.demoted, strict=True)
        return sorted(rows, key=str)

    for seed in range(5):
        d = random_detections(seed)
        assert outcome(d) != sorted(
            zip(d.boxes.tolist(), d.classes, d.scores, d.reason, d.role, d.confident, d.demoted, strict=True), key=str
        )
        mixed = np.random.default_rng(seed).permutation(len(d))
        assert outcome(d[mixed]) == outcome(d)
