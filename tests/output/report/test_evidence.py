"""What a mask may have missed, and which classes compete."""

import numpy as np
import pytest

from wsss_seed.output.manifest import Record
from wsss_seed.output.report.evidence import SEEN, Box, Missed, missed, no_evidence, rivals

NAMES = ("background", "cat", "dog", "cow")


def counts(*pixels: int) -> np.ndarray:
    return np.array([*pixels, *[0] * (256 - len(pixels))])


def test_ground_truth_decides_alone():
    record = Record("a", "ok", present=("cow",), labels=("dog", "cow"))
    found = missed(record, {"cow": 0.9}, NAMES, counts(5, 1), counts(1, 0, 3, 0))
    assert found == (Missed(2, "truth", 1.0),)


def test_given_labels_decide_before_clip():
    record = Record("a", "ok", labels=("cat", "cow", "unicorn"))
    assert missed(record, {"dog": 0.9}, NAMES, counts(5, 1), None) == (Missed(3, "given", 1.0),)
    assert missed(Record("a", "ok", labels=()), {"dog": 0.9}, NAMES, counts(5), None) == ()


def test_clip_and_boxes_suggest_classes_best_first():
    record = Record("a", "ok", present=("cat", "dog"), scores={"cat": 0.9, "dog": 0.3, "cow": None})
    clip = {"cat": 0.8, "dog": 0.05, "cow": 0.4}
    assert missed(record, clip, NAMES, counts(5, 1), None) == (Missed(3, "clip", 0.4), Missed(2, "box", 0.3))


@pytest.mark.parametrize(("seen", "number"), [(SEEN, 1), (SEEN - 1e-6, 0), (1e300, 1), (-1e300, 0)])
def test_the_threshold_of_clip(seen, number):
    found = missed(Record("a", "ok"), {"cow": seen}, NAMES, counts(5), None)
    assert len(found) == number
    assert all(0 <= m.score <= 1 for m in found)


def test_a_run_without_evidence():
    found = no_evidence(Record("a", "ok", evidence={"detections": 5}))
    assert (found.boxes, found.clip, found.note) == ((), {}, "")


def box(cls: str, x: float, final: float, role: str = "confident") -> Box:
    """A box of 40 x 40 pixels at (x, 10)."""
    return Box(cls, (x, 10.0, x + 40.0, 50.0), final, None, final, role, "")


MAP = np.zeros((60, 100), np.uint8)


def test_two_classes_compete_where_their_boxes_share_a_place():
    labels = MAP.copy()
    labels[10:50, 15:25] = 255
    boxes = (box("dog", 5, 0.4, "dropped"), box("cat", 10, 0.5), box("cow", 60, 0.9), box("dog", 30, 0.5))
    [found] = rivals(boxes, NAMES, labels)
    assert found.labels == (1, 2)
    assert found.iou == pytest.approx(35 / 45)
    assert found.scores == (0.5, 0.4)
    assert found.undecided == pytest.approx(10 / 35)
    assert found.strength == pytest.approx(35 / 45 * 0.8)


@pytest.mark.parametrize(
    "boxes",
    [
        (box("cat", 5, 0.4, "dropped"), box("dog", 5, 0.5, "dropped")),  # neither is in the mask
        (box("cat", 5, 0.2, "dropped"), box("dog", 5, 0.5)),  # a much lower score
        (box("cat", 5, 0.5), box("dog", 20, 0.5)),  # beside each other: IoU 25 / 55
        (box("cat", 5, 0.5), box("cat", 5, 0.5)),  # of one class
        (box("cat", 5, 0.5), box("unicorn", 5, 0.5)),  # no class of the run
        (box("cat", 5, 0.0), box("dog", 5, 0.0)),
    ],
)
def test_these_do_not_compete(boxes):
    assert rivals(boxes, NAMES, MAP) == ()


def test_the_closest_boxes_of_a_pair_count_and_the_closest_pair_is_first():
    boxes = (box("cat", 5, 0.5), box("dog", 12, 0.4), box("cow", 5, 0.45), box("dog", 5, 0.4))
    found = rivals(boxes, NAMES, MAP)
    assert [pair.labels for pair in found] == [(1, 3), (2, 3), (1, 2)]
    assert [pair.iou for pair in found] == [1.0, 1.0, 1.0]


def test_boxes_outside_the_image_are_no_trouble():
    far = [Box(cls, (-1e9, -5.0, 1e9, 5e8), 0.5, None, 0.5, "confident", "") for cls in ("cat", "dog")]
    assert rivals(far, NAMES, MAP)[0].undecided == 0.0
    out = [Box(cls, (500.0, 500.0, 600.0, 600.0), 0.5, None, 0.5, "confident", "") for cls in ("cat", "dog")]
    assert rivals(out, NAMES, MAP)[0].undecided == 0.0
    empty = [Box(cls, (5.0, 5.0, 5.0, 5.0), 0.5, None, 0.5, "confident", "") for cls in ("cat", "dog")]
    assert rivals(empty, NAMES, MAP) == ()
