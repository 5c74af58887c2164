"""CLIP's crop verification, by hand-computed cases."""

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
def test_crops_are_expanded_and_square(box, shape, expected):
    np.testing.assert_allclose(crop_boxes(np.array([box], np.float32), shape, 0.10), [expected], atol=1e-4)


def test_crops_stay_inside_and_contain_their_boxes():
    rng = np.random.default_rng(0)
    low = rng.random((500, 2)) * [140, 80]
    boxes = np.concatenate([low, np.minimum(low + rng.random((500, 2)) * 90, [150, 90])], 1).astype(np.float32)
    crops = crop_boxes(boxes, (90, 150), 0.10)
    assert (crops[:, :2] >= 0).all()
    assert (crops[:, 2:] <= [150.001, 90.001]).all()
    assert (crops[:, :2] <= boxes[:, :2] + 1e-3).all()
    assert (crops[:, 2:] >= boxes[:, 2:] - 1e-3).all()
    sides = crops[:, 2:] - crops[:, :2]
    square = np.isclose(sides[:, 0], sides[:, 1], atol=1e-3) | np.isclose(sides[:, 1], 90, atol=1e-3)
    assert square.all()


@pytest.mark.parametrize(
    ("own", "probs", "accepted", "cls"),
    [
        (0, [0.20, 0.3, 0.4, 0.0], True, 0),  # pc >= 0.20, though third
        (0, [0.19, 0.3, 0.4, 0.0], False, 0),  # below, and third
        (0, [0.19, 0.1, 0.4, 0.0], True, 0),  # below, but second
        (0, [0.09, 0.6, 0.0, 0.0], True, 1),  # another has 0.60 and the own is below 0.10
        (0, [0.10, 0.6, 0.2, 0.0], False, 0),  # own not below 0.10, and third
        (0, [0.09, 0.59, 0.2, 0.0], False, 0),  # another has not 0.60
        (0, [0.09, 0.02, 0.0, 0.7], True, 0),  # the other is no candidate: second best
        (0, [0.01, 0.02, 0.0, 0.7], False, 0),
        (1, [0.09, 0.6, 0.0, 0.0], True, 1),
    ],
)
def test_the_decision_in_its_order(own, probs, accepted, cls):
    """Relabel, else accept by probability or rank, else reject. Class 3 is no candidate."""
    candidates, accept = np.array([True, True, True, False]), np.full(4, SETTINGS.accept_threshold, np.float32)
    got = verify(np.array([probs], np.float32), np.array([own]), candidates, accept, SETTINGS)
    assert (bool(got[0][0]), int(got[1][0])) == (accepted, cls)


def test_acceptance_may_differ_between_classes():
    probs = np.array([[0.15, 0.16, 0.17], [0.15, 0.16, 0.17]], np.float32)
    accepted, _ = verify(probs, np.array([0, 0]), np.ones(3, bool), np.array([0.15, 0.9, 0.9], np.float32), SETTINGS)
    assert accepted.all()
    accepted, _ = verify(probs, np.array([0, 0]), np.ones(3, bool), np.array([0.16, 0.1, 0.1], np.float32), SETTINGS)
    assert not accepted.any()


def test_no_boxes_are_no_decisions():
    accepted, classes = verify(
        np.zeros((0, 3), np.float32), np.zeros(0, int), np.ones(3, bool), np.zeros(3, np.float32), SETTINGS
    )
    assert accepted.shape == classes.shape == (0,)
    assert crop_boxes(np.zeros((0, 4), np.float32), (9, 9), 0.10).shape == (0, 4)


def test_combined_score():
    """det^0.7 * max(pc, 0.01)^0.3."""
    got = combined_score(np.array([0.5, 0.5, 1.0], np.float32), np.array([0.25, 0.0, 1.0], np.float32), 0.3)
    np.testing.assert_allclose(got, [0.5**0.7 * 0.25**0.3, 0.5**0.7 * 0.01**0.3, 1.0], rtol=1e-6)
    assert got.dtype == np.float32
