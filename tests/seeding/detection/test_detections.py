"""From queries to boxes, by hand-computed cases, and independent of the order of the queries."""

import numpy as np
import pytest
import torch
import torchvision

from wsss_seed.seeding.detection.detections import (
    Detections,
    assign_classes,
    beyond_limit,
    box_iou,
    cross_class_duplicates,
    duplicates,
    group_boxes,
    too_large,
    too_small,
)

SHAPE = (100, 100)


def detections(*rows, box_thr=0.3):
    """Rows (box, class, score)."""
    boxes, classes, scores = zip(*rows, strict=True)
    scores = np.array(scores, np.float32)
    return Detections(
        np.array(boxes, np.float32), np.array(classes), scores, np.arange(len(rows)), scores > np.float32(box_thr)
    )


def random_detections(seed, n=40, classes=3):
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 60, (n, 2)), rng.integers(5, 45, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).clip(0, 100).astype(np.float32)
    scores = rng.choice([0.25, 0.35, 0.5, 0.8], n).astype(np.float32)  # many ties
    return Detections(boxes, rng.integers(0, classes, n), scores, np.arange(n), scores > 0.3)


def test_class_is_the_best_and_the_score_is_the_detector_s():
    """Argmax of the class scores, ties to the lower index; score above, not at, the threshold makes strong."""
    d = assign_classes(
        boxes=np.array([[0, 0, 50, 50], [10, 10, 40, 40], [0, 0, 10, 10]], np.float32),
        scores=np.array([0.30, 0.6, 0.31], np.float32),
        class_scores=np.array([[0.2, 0.2], [0.1, 0.5], [0.3, 0.0]], np.float32),
        classes=(1, 4),
        box_thr=np.full(5, 0.3, np.float32),
        shape=SHAPE,
    )
    assert d.classes.tolist() == [4, 1, 1]
    assert d.query.tolist() == [1, 2, 0]
    assert d.strong.tolist() == [True, True, False]


def test_box_thresholds_may_differ_between_classes():
    d = assign_classes(
        np.array([[0, 0, 9, 9], [0, 0, 9, 9]], np.float32),
        np.array([0.4, 0.4], np.float32),
        np.eye(2, dtype=np.float32),
        (0, 1),
        np.array([0.3, 0.5], np.float32),
        SHAPE,
    )
    assert d.strong.tolist() == [True, False]


def test_boxes_are_clipped_to_the_image():
    d = assign_classes(np.array([[-5.0, 2, 120, 400]]), np.ones(1), np.ones((1, 1)), (0,), np.zeros(1), (50, 100))
    assert d.boxes.tolist() == [[0, 2, 100, 50]]


def test_no_queries_are_no_detections():
    d = assign_classes(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 2)), (0, 1), np.zeros(2), SHAPE)
    assert len(d) == 0
    for rule in (
        lambda d: too_small(d, SHAPE, 4, 0.01),
        lambda d: too_large(d, SHAPE, 0.95, 0.4, 0.9, even_alone=False),
        lambda d: duplicates(d, 0.7),
        lambda d: group_boxes(d, 0.9, 0.8),
        lambda d: cross_class_duplicates(d, d.scores, 0.9),
        lambda d: beyond_limit(d, 3),
    ):
        assert rule(d).shape == (0,)


def test_iou_is_torchvision_s():
    d = random_detections(0)
    theirs = torchvision.ops.box_iou(torch.tensor(d.boxes), torch.tensor(d.boxes))
    np.testing.assert_allclose(box_iou(d.boxes, d.boxes), theirs.numpy(), atol=1e-6)
    assert box_iou(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)) == 0


def test_small_boxes_go():
    """Side < 4 px or area < 0.0002 of the image; both bounds stay."""
    d = detections(
        ([0, 0, 4, 50], 0, 0.9),
        ([0, 0, 3.9, 50], 0, 0.9),
        ([0, 0, 50, 3.9], 0, 0.9),
        ([5, 5, 5, 50], 0, 0.9),
    )
    assert too_small(d, SHAPE, 4, 0.0002).tolist() == [False, True, True, True]
    assert too_small(d, SHAPE, 0, 0.0).tolist() == [False, False, False, True]
    assert too_small(d, (1000, 1000), 4, 0.0002).tolist() == [False, True, True, True]
    assert too_small(d, (1001, 1000), 4, 0.0002).tolist() == [True, True, True, True]


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
    assert too_large(d, SHAPE, 0.95, 0.40, 0.9, even_alone=False).tolist() == [expected, False]


def test_a_doubtful_large_box_goes_even_alone_where_labels_are_not_given():
    d = detections((WHOLE, 0, 0.39), (WHOLE, 1, 0.41), ([0, 0, 50, 50], 1, 0.3))
    assert too_large(d, SHAPE, 0.95, 0.40, 0.9, even_alone=True).tolist() == [True, False, False]


def test_large_boxes_do_not_drop_each_other():
    """Of two like boxes one stays."""
    d = detections((WHOLE, 0, 0.35), (WHOLE, 0, 0.36))
    assert too_large(d, SHAPE, 0.95, 0.40, 0.9, even_alone=False).tolist() == [True, False]


def test_duplicates_are_those_of_torchvision_s_nms():
    for seed in range(5):
        d = random_detections(seed, 80)
        scores = d.scores + np.linspace(0, 0.01, 80, dtype=np.float32)  # no ties: torchvision's are another matter
        d = Detections(d.boxes, d.classes, scores, d.query, d.strong)
        kept = torchvision.ops.batched_nms(*(torch.tensor(x) for x in (d.boxes, d.scores, d.classes)), 0.5)
        assert sorted(kept.tolist()) == np.flatnonzero(~duplicates(d, 0.5)).tolist()


def test_duplicates_need_more_than_the_iou_and_the_same_class():
    """IoU exactly 0.7 stays."""
    a, b, c = [0, 0, 100, 100], [0, 0, 100, 70], [0, 0, 100, 71]
    assert duplicates(detections((a, 0, 0.9), (b, 0, 0.8)), 0.70).tolist() == [False, False]
    assert duplicates(detections((a, 0, 0.8), (c, 0, 0.9)), 0.70).tolist() == [True, False]
    assert duplicates(detections((a, 0, 0.9), (c, 1, 0.8)), 0.70).tolist() == [False, False]


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
    assert group_boxes(d, 0.9, 0.8).tolist() == [expected] + [False] * len(members)


def test_a_group_of_groups_is_judged_by_what_is_left():
    """The inner group goes first, and is no member of the outer one any more."""
    inner = ([0, 0, 40, 40], 0, 0.5)
    d = detections(([0, 0, 44, 40], 0, 0.5), inner, (LEFT, 0, 0.6), ([20, 0, 40, 28], 0, 0.6))
    assert group_boxes(d, 0.9, 0.8).tolist() == [False, True, False, False]  # 0.7727 of the outer is left covered


def test_of_two_classes_on_one_object_the_better_stays():
    """IoU >= 0.90, by score times crop probability."""
    a, b, c = [0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 100, 89]
    d = detections((a, 0, 0.5), (b, 1, 0.6))
    assert cross_class_duplicates(d, d.scores, 0.9).tolist() == [True, False]
    assert cross_class_duplicates(d, d.scores * np.float32([0.9, 0.1]), 0.9).tolist() == [False, True]
    d = detections((a, 0, 0.5), (c, 1, 0.6))
    assert cross_class_duplicates(d, d.scores, 0.9).tolist() == [False, False]
    d = detections((a, 0, 0.5), (b, 0, 0.6))
    assert cross_class_duplicates(d, d.scores, 0.9).tolist() == [False, False]


def test_at_most_so_many_boxes_stay():
    """The best box of a given class stays in any case."""
    d = detections(*(([i, 0, i + 9, 9], i % 2, s) for i, s in enumerate([0.5, 0.4, 0.9, 0.3, 0.8])))
    assert beyond_limit(d, 2).tolist() == [True, True, False, True, False]
    assert beyond_limit(d, 2, (0, 1)).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    "rule",
    [
        lambda d: too_large(d, (70, 70), 0.2, 0.6, 0.3, even_alone=False),
        lambda d: duplicates(d, 0.3),
        lambda d: group_boxes(d, 0.5, 0.3),
        lambda d: cross_class_duplicates(d, d.scores, 0.3),
        lambda d: beyond_limit(d, 7, (0, 1, 2)),
    ],
)
def test_no_rule_depends_on_the_order_of_the_queries(rule):
    for seed in range(5):
        d = random_detections(seed)
        drop = rule(d)
        assert 0 < drop.sum() < len(d)
        mixed = np.random.default_rng(seed).permutation(len(d))
        assert rule(d[mixed]).tolist() == drop[mixed].tolist()


def test_the_canonical_order_ends_with_class_and_box():
    box = [1, 2, 30, 40]
    d = detections((box, 1, 0.5), (box, 0, 0.5), ([0, 9, 30, 40], 1, 0.5), ([1, 2, 29, 50], 1, 0.5), (box, 2, 0.6))
    assert d.order().tolist() == [4, 1, 2, 3, 0]
    assert d.order(np.array([5.0, 1, 1, 1, 1])).tolist() == [0, 1, 2, 3, 4]
