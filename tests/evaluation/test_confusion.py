"""Counting, against a loop over the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.evaluation import confusion
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram


def naive(truth, prediction, classes):
    """One pixel at a time; predicted 255 in the last column."""
    matrix = np.zeros((classes, classes + 1), dtype=np.int64)
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != 255:
            matrix[t, classes if p == 255 else p] += 1
    return matrix


@pytest.mark.parametrize("classes", [1, 2, 21, 81, 255])
def test_against_a_loop(classes):
    dice = np.random.default_rng(classes)
    values = np.array([*range(classes), 255], np.uint8)
    truth, prediction = dice.choice(values, (2, 31, 47))
    histogram = joint_histogram(truth, prediction)
    assert histogram.sum() == truth.size
    np.testing.assert_array_equal(confusion_matrix(histogram, classes), naive(truth, prediction, classes))


def test_predicted_255_lands_in_no_other_row():
    """With bincount(classes * truth + prediction) it would be counted as a pixel of ground-truth class 12."""
    matrix = confusion_matrix(joint_histogram(np.zeros((1, 1), np.uint8), np.full((1, 1), 255, np.uint8)), 21)
    assert matrix[0, 21] == matrix.sum() == 1


def test_chunks_add_up(monkeypatch):
    truth, prediction = np.random.default_rng(0).integers(0, 5, (2, 20, 33), dtype=np.uint8)
    whole = joint_histogram(truth, prediction)
    monkeypatch.setattr(confusion, "_CHUNK", 7)
    np.testing.assert_array_equal(joint_histogram(truth, prediction), whole)


def test_maps_of_different_size_or_type_are_refused():
    a = np.zeros((2, 3), np.uint8)
    for other in (a.T, a.astype(np.int64)):
        with pytest.raises(ValueError, match="one size"):
            joint_histogram(a, other)
