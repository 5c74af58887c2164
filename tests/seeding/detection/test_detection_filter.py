"""Pools and final classes, by hand-computed cases."""

import numpy as np
import pytest

from wsss_seed.seeding.detection.detection_filter import Verdicts, divide, settle_across_classes, survivors
from wsss_seed.seeding.detection.detections import Detections

K = 3
HIGH, LOW, FLOOR = (np.full(K, t, np.float32) for t in (0.30, 0.20, 0.20))


def verdicts(*rows):
    """Rows (class, detector score, combined score), boxes apart; strong above 0.30."""
    classes, det, score = (np.array(c) for c in zip(*rows, strict=True))
    det = det.astype(np.float32)
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(len(rows))], np.float32)
    v = Verdicts.of(Detections(boxes, classes, det, np.arange(len(rows)), det > np.float32(0.3)))
    v.score = score.astype(np.float32)
    return v


def pools(v, given=None):
    divide(v, HIGH, LOW, FLOOR, given)
    return v.pool.tolist()


def test_pools_by_combined_score():
    """s' >= 0.30 paints; 0.20 <= s' < 0.30 makes uncertain; the bounds included."""
    v = verdicts((0, 0.5, 0.30), (0, 0.5, 0.29), (0, 0.5, 0.20), (0, 0.5, 0.19))
    assert pools(v) == ["high", "low", "low", "dropped"]
    assert v.why.tolist() == ["", "", "", "score"]


def test_a_box_not_above_the_box_threshold_never_paints():
    """Below the box threshold the low floor serves the low pool only."""
    v = verdicts((0, 0.9, 0.9), (0, 0.30, 0.5), (0, 0.25, 0.5), (0, 0.15, 0.5))
    assert pools(v) == ["high", "low", "low", "dropped"]


def test_thresholds_may_differ_between_classes():
    v = verdicts((0, 0.5, 0.4), (1, 0.5, 0.4), (2, 0.5, 0.4))
    divide(v, np.array([0.3, 0.5, 0.5], np.float32), np.array([0.2, 0.2, 0.45], np.float32), FLOOR, None)
    assert v.pool.tolist() == ["high", "low", "dropped"]


def test_a_given_class_keeps_its_best_box():
    """Verification never takes a given class away; its best box stays in the low pool."""
    rows = (0, 0.9, 0.9), (1, 0.35, 0.10), (1, 0.32, 0.12), (2, 0.5, 0.25), (2, 0.5, 0.1)
    assert pools(verdicts(*rows), (0, 1, 2)) == ["high", "dropped", "low", "low", "dropped"]
    assert pools(verdicts(*rows)) == ["high", "dropped", "dropped", "low", "dropped"]


def test_an_image_keeps_its_last_box():
    """The box kept as the only one makes at least uncertain."""
    assert pools(verdicts((1, 0.35, 0.10))) == ["low"]


def same_place(*rows):
    """Rows (class, detector score, crop probability) on one box."""
    v = verdicts(*((c, det, det) for c, det, _ in rows))
    v.found.boxes[:] = [0, 0, 10, 10]
    v.prob = np.array([p for _, _, p in rows], np.float32)
    return v


def test_the_better_of_two_classes_by_score_times_crop_probability():
    """An unverified box counts with probability 1."""
    v = same_place((0, 0.5, 0.9), (1, 0.8, 0.5))
    settle_across_classes(v, 0.9)
    assert v.why.tolist() == ["", "other class"]
    v = same_place((0, 0.5, 0.9), (1, 0.8, np.nan))
    settle_across_classes(v, 0.9)
    assert v.why.tolist() == ["other class", ""]


def test_the_last_box_of_a_given_class_is_demoted_not_dropped():
    """It moves to the low pool."""
    v = same_place((0, 0.5, 0.9), (1, 0.8, 0.5), (1, 0.7, 0.5))
    settle_across_classes(v, 0.9, (0, 1))
    assert v.why.tolist() == ["", "", "other class"]
    assert v.demoted.tolist() == [False, True, False]
    assert pools(v, (0, 1)) == ["high", "low", "dropped"]


def test_a_given_class_with_another_box_loses_this_one():
    v = same_place((0, 0.5, 0.9), (1, 0.8, 0.5), (1, 0.31, 0.5))
    v.found.boxes[2] = [50, 50, 60, 60]
    settle_across_classes(v, 0.9, (0, 1))
    assert v.why.tolist() == ["", "other class", ""]
    assert not v.demoted.any()


def test_the_final_classes_own_a_strong_survivor():
    """A box dropped, or not above the box threshold, is no survivor."""
    v = verdicts((0, 0.5, 0.5), (1, 0.9, 0.9), (2, 0.25, 0.3))
    v.why[1] = "rejected"
    assert survivors(v, 0.20) == ((0,), None)
    assert v.why.tolist() == ["", "rejected", ""]


@pytest.mark.parametrize("det", [0.25, 0.20])
def test_without_survivor_the_best_box_by_combined_score_is_kept(det):
    """If its detector score is >= 0.20."""
    v = verdicts((0, 0.9, 0.2), (1, det, 0.4), (2, 0.9, 0.9), (0, 0.22, 0.1))
    v.why[0], v.why[2] = "rejected", "duplicate"
    assert survivors(v, 0.20) == ((1,), 1)
    assert v.why.tolist() == ["rejected", "", "duplicate", "no survivor"]
    assert pools(v) == ["dropped", "high", "dropped", "dropped"]


def test_the_best_box_may_be_one_that_clip_rejected():
    """The single best box over the candidates."""
    v = verdicts((0, 0.9, 0.42), (1, 0.25, 0.4))
    v.why[0] = "rejected"
    assert survivors(v, 0.20) == ((0,), 0)
    assert v.why.tolist() == ["", "no survivor"]


def test_nothing_is_kept_below_the_fallback_threshold():
    """Otherwise the image becomes all 255."""
    v = verdicts((0, 0.19, 0.3), (1, 0.1, 0.4))
    assert survivors(v, 0.20) == ((), None)
    assert survivors(Verdicts.of(v.found[np.zeros(0, int)]), 0.20) == ((), None)
