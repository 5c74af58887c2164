"""CLIP's crop verification, by hand-computed cases."""

from dataclasses import replace

import numpy as np
import pytest

from wsss_seed.seeding.detection.crop_verification import combined_score, crop_boxes, verify
from wsss_seed.seeding.detection.settings import VerifySettings

SETTINGS = VerifySettings()


@pytest.mark.parametrize(
    ("box", "shape", "expected"),
    [
        ([40, 40, 60, 60], (100, 100), [38, 38, 62, 62]),  # 10 % a side
        ([40, 45, 60, 55], (100, 100), [38, 38, 62, 62]),  # the short side grows to the long one
        ([0, 45, 20, 55], (100, 100), [0, 39, 22, 61]),  # clipped first, then square
        ([40, 0, 60, 10], (100, 100), [38, 0, 62, 24]),  # moved into the image
        ([45, 80, 55, 100], (100, 100), [39, 78, 61, 100]),
        ([10, 2, 90, 8], (10, 100), [2, 0, 98, 10]),  # the image is not that high
        ([0, 0, 300, 1], (1, 300), [0, 0, 300, 1]),
    ],
)
def test_square_crops(box, shape, expected):
    crops = crop_boxes(np.array([box], np.float32), shape, 0.10, square=True)
    np.testing.assert_allclose(crops, [expected], atol=1e-4)


def test_tight_crops_are_expanded_and_clipped():
    boxes = np.array([[40, 45, 60, 55], [0, 45, 20, 55]], np.float32)
    crops = crop_boxes(boxes, (100, 100), 0.10, square=False)
    np.testing.assert_allclose(crops, [[38, 44, 62, 56], [0, 44, 22, 56]], atol=1e-4)


def test_crops_stay_inside_and_contain_their_boxes():
    rng = np.random.default_rng(0)
    low = rng.random((500, 2)) * [140, 80]
    boxes = np.concatenate([low, np.minimum(low + rng.random((500, 2)) * 90, [150, 90])], 1).astype(np.float32)
    crops = crop_boxes(boxes, (90, 150), 0.10, square=True)
    assert (crops[:, :2] >= 0).all()
    assert (crops[:, 2:] <= [150.001, 90.001]).all()
    assert (crops[:, :2] <= boxes[:, :2] + 1e-3).all()
    assert (crops[:, 2:] >= boxes[:, 2:] - 1e-3).all()
    sides = crops[:, 2:] - crops[:, :2]
    square = np.isclose(sides[:, 0], sides[:, 1], atol=1e-3) | np.isclose(sides[:, 1], 90, atol=1e-3)
    assert square.all()


def decide(probs, own, *, score=0.4, candidates=None, same_object=None, accept=0.2, **changed):
    """The decision on one box: whether it is accepted, and its class."""
    k = len(probs)
    candidates = np.ones(k, bool) if candidates is None else np.array(candidates)
    accepted, classes = verify(
        np.array([probs], np.float32),
        np.array([own]),
        np.array([score], np.float32),
        candidates,
        np.zeros((1, k), bool) if same_object is None else np.array([same_object]),
        np.full(k, accept, np.float32),
        replace(SETTINGS, **changed),
    )
    return bool(accepted[0]), int(classes[0])


FOUR_CANDIDATES = [True, True, True, True, False]


@pytest.mark.parametrize(
    ("own", "probs", "accepted", "cls"),
    [
        (0, [0.20, 0.3, 0.4, 0.0, 0.0], True, 0),  # probability >= 0.20, though third
        (0, [0.19, 0.3, 0.4, 0.0, 0.0], False, 0),  # below, and third
        (0, [0.19, 0.1, 0.4, 0.0, 0.0], True, 0),  # below, but second
        (0, [0.09, 0.6, 0.0, 0.0, 0.0], True, 1),  # another has 0.60 and the own is below 0.10
        (0, [0.10, 0.6, 0.2, 0.0, 0.0], False, 0),  # own not below 0.10, and third
        (0, [0.09, 0.59, 0.2, 0.0, 0.0], False, 0),  # another has not 0.60
        (0, [0.09, 0.02, 0.0, 0.0, 0.7], True, 0),  # the other is no candidate: second best
        (0, [0.01, 0.02, 0.0, 0.0, 0.7], False, 0),
        (1, [0.09, 0.6, 0.0, 0.0, 0.0], True, 1),
    ],
)
def test_the_decision_in_its_order(own, probs, accepted, cls):
    """Relabel, else accept by probability or rank, else reject."""
    assert decide(probs, own, candidates=FOUR_CANDIDATES, relabel=True) == (accepted, cls)


def test_without_relabelling_a_box_of_another_class_is_rejected_where_that_class_has_a_box():
    """A rider's crop shows the motorcycle: its box stays unless a motorcycle's box is nearly the same."""
    probs = [0.09, 0.6, 0.0, 0.0, 0.0]
    assert decide(probs, 0) == (True, 0)  # second best
    assert decide(probs, 0, same_object=[False, True, False, False, False]) == (False, 0)
    assert decide(probs, 0, same_object=[True, False, True, True, True]) == (True, 0)


def test_what_the_detector_is_sure_of_is_neither_rejected_nor_relabelled():
    probs = [0.0, 0.6, 0.4, 0.0, 0.0]
    for relabel in (True, False):
        assert decide(probs, 0, score=0.5, same_object=[True] * 5, relabel=relabel) == (True, 0)
    assert decide(probs, 0, score=0.49, same_object=[True] * 5) == (False, 0)
    assert decide(probs, 0, score=0.49, relabel=True) == (True, 1)


def test_the_rank_counts_only_among_five_classes_or_more():
    """With two classes every class is among the two best."""
    assert decide([0.01, 0.02, 0.0, 0.0, 0.0], 0) == (True, 0)
    assert decide([0.01, 0.02, 0.0, 0.0], 0) == (False, 0)
    assert decide([0.01, 0.02], 0) == (False, 0)


def test_acceptance_may_differ_between_classes():
    probs, scores = np.array([[0.15, 0.16, 0.17]] * 2, np.float32), np.full(2, 0.4, np.float32)
    rest = np.ones(3, bool), np.zeros((2, 3), bool)
    for own, expected in ((0.15, True), (0.16, False)):
        accept = np.array([own, 0.9, 0.9], np.float32)
        accepted, _ = verify(probs, np.array([0, 0]), scores, *rest, accept, SETTINGS)
        assert (accepted == expected).all()


def test_no_boxes_are_no_decisions():
    empty = np.zeros((0, 3), np.float32)
    accepted, classes = verify(
        empty, np.zeros(0, int), np.zeros(0, np.float32), np.ones(3, bool), empty > 0, empty.sum(0), SETTINGS
    )
    assert accepted.shape == classes.shape == (0,)
    assert crop_boxes(np.zeros((0, 4), np.float32), (9, 9), 0.10, square=True).shape == (0, 4)


def test_combined_score():
    """det^0.7 * max(prob, 0.01)^0.3, where that is not below a trusted detector score."""
    det, prob = np.array([0.5, 0.5, 1.0], np.float32), np.array([0.25, 0.0, 1.0], np.float32)
    got = combined_score(det, prob, 0.3, 1.0)
    np.testing.assert_allclose(got, [0.5**0.7 * 0.25**0.3, 0.5**0.7 * 0.01**0.3, 1.0], rtol=1e-6)
    assert got.dtype == np.float32
    np.testing.assert_allclose(combined_score(det, prob, 0.3, 0.5), det)
    high = np.array([0.5, 0.4], np.float32), np.array([0.9, 0.9], np.float32)
    np.testing.assert_allclose(combined_score(*high, 0.3, 0.5), combined_score(*high, 0.3, 1.0))


def test_boxes_that_were_not_verified_count_as_if_clip_agreed():
    det = np.array([0.3, 0.8], np.float32)
    unknown, certain = np.full(2, np.nan, np.float32), np.ones(2, np.float32)
    np.testing.assert_array_equal(combined_score(det, unknown, 0.15, 0.5), combined_score(det, certain, 0.15, 0.5))


def test_without_weight_the_combined_score_is_the_detectors():
    det = np.array([0.3, 0.8, 0.4], np.float32)
    prob = np.array([0.0, 1.0, np.nan], np.float32)
    np.testing.assert_array_equal(combined_score(det, prob, 0.0, 0.5), det)
