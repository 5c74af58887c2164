"""What a mask may have missed."""

import numpy as np
import pytest

from wsss_seed.output.manifest import Record
from wsss_seed.output.report.evidence import SEEN, Missed, missed, no_evidence

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
