"""From queries to boxes, by hand-computed cases, and independent of the order of the queries."""

import numpy as np
import torch
import torchvision

from wsss_seed.seeding.detection.detections import Detections, Reason, Role, assign_classes, box_iou

SHAPE = (100, 100)


def detections(*rows, box_threshold=0.3):
    """Rows (box, class, score)."""
    boxes, classes, scores = zip(*rows, strict=True)
    scores = np.array(scores, np.float32)
    return Detections.of(
        np.array(boxes, np.float32), np.array(classes), scores, np.arange(len(rows)), scores > np.float32(box_threshold)
    )


def random_detections(seed, n=40, classes=3):
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 60, (n, 2)), rng.integers(5, 45, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).clip(0, 100).astype(np.float32)
    scores = rng.choice([0.25, 0.35, 0.5, 0.8], n).astype(np.float32)  # many ties
    return Detections.of(boxes, rng.integers(0, classes, n), scores, np.arange(n), scores > 0.3)


def test_class_is_the_best_and_the_score_is_the_detector_s():
    """Argmax of the class scores, ties to the lower index; score above, not at, the threshold makes strong."""
    d = assign_classes(
        boxes=np.array([[0, 0, 50, 50], [10, 10, 40, 40], [0, 0, 10, 10]], np.float32),
        scores=np.array([0.30, 0.6, 0.31], np.float32),
        class_scores=np.array([[0.2, 0.2], [0.1, 0.5], [0.3, 0.0]], np.float32),
        classes=(1, 4),
        box_threshold=np.full(5, 0.3, np.float32),
        shape=SHAPE,
    )
    assert d.classes.tolist() == [4, 1, 1]
    assert d.query.tolist() == [1, 2, 0]
    assert d.confident.tolist() == [True, True, False]


def test_box_thresholdesholds_may_differ_between_classes():
    d = assign_classes(
        np.array([[0, 0, 9, 9], [0, 0, 9, 9]], np.float32),
        np.array([0.4, 0.4], np.float32),
        np.eye(2, dtype=np.float32),
        (0, 1),
        np.array([0.3, 0.5], np.float32),
        SHAPE,
    )
    assert d.confident.tolist() == [True, False]


def test_boxes_are_clipped_to_the_image():
    d = assign_classes(np.array([[-5.0, 2, 120, 400]]), np.ones(1), np.ones((1, 1)), (0,), np.zeros(1), (50, 100))
    assert d.boxes.tolist() == [[0, 2, 100, 50]]


def test_iou_is_torchvision_s():
    d = random_detections(0)
    theirs = torchvision.ops.box_iou(torch.tensor(d.boxes), torch.tensor(d.boxes))
    np.testing.assert_allclose(box_iou(d.boxes, d.boxes), theirs.numpy(), atol=1e-6)
    assert box_iou(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)) == 0


def test_the_canonical_order_ends_with_class_and_box():
    box = [1, 2, 30, 40]
    d = detections((box, 1, 0.5), (box, 0, 0.5), ([0, 9, 30, 40], 1, 0.5), ([1, 2, 29, 50], 1, 0.5), (box, 2, 0.6))
    assert d.order().tolist() == [4, 1, 2, 3, 0]
    assert d.order(np.array([5.0, 1, 1, 1, 1])).tolist() == [0, 1, 2, 3, 4]


def test_detections_are_never_changed_in_place():
    d = random_detections(0)
    gone = d.drop(Reason.NMS, lambda d: d.scores > 0.4).with_role(0, Role.CONFIDENT)
    assert d.kept.all()
    assert (d.role == Role.UNDECIDED).all()
    assert gone.kept.tolist() == (d.scores <= 0.4).tolist()
    assert gone.role[0] == Role.CONFIDENT


def test_a_rule_judges_only_what_was_kept():
    d = detections(([0, 0, 9, 9], 0, 0.9), ([0, 0, 9, 9], 0, 0.8), ([0, 0, 9, 9], 0, 0.7))
    seen = []
    once = d.drop(Reason.NMS, lambda d: d.scores > 0.85)
    twice = once.drop(Reason.GROUP_BOX, lambda d: seen.append(len(d)) or d.scores > 0.75)
    assert seen == [2]
    assert [Reason(r).text for r in twice.reason] == ["nms", "group_box", ""]
