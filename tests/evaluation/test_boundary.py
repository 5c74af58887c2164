"""Boundary IoU against its definition (Cheng et al. 2021): band = mask less the mask eroded d times with 3 x 3 ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from wsss_seed.evaluation.boundary import boundary_band, boundary_counts
from wsss_seed.evaluation.metrics import boundary_iou


def eroded(mask, times):
    """Erosion with 3 x 3 ones, the outside being empty."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        mask = windows.all(axis=(2, 3))
    return mask


def blobs(seed, shape, values):
    dice = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for value in dice.choice(values, 12):
        top, left = dice.integers(0, shape[0]), dice.integers(0, shape[1])
        labels[top : top + dice.integers(3, 30), left : left + dice.integers(3, 30)] = value
    return labels


@pytest.mark.parametrize("shape", [(60, 80), (1, 1), (1, 40), (9, 50), (5, 5)])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_band_of_all_labels_is_that_of_each(shape, width):
    labels = blobs(width, shape, [1, 2, 3])
    expected = np.zeros(shape, bool)
    for value in np.unique(labels):
        mask = labels == value
        expected |= mask & ~eroded(mask, width)
    np.testing.assert_array_equal(boundary_band(labels, width), expected)


def test_iou_of_each_class_as_defined():
    truth, prediction = blobs(1, (90, 120), [1, 2, 3]), blobs(2, (90, 120), [1, 2, 3])
    prediction[:, :60] = truth[:, :60]
    width = round(0.02 * math.hypot(90, 120))
    figures = boundary_iou(boundary_counts(truth, prediction)[:, :4])
    for value in range(4):
        band = [(m == value) & ~eroded(m == value, width) for m in (truth, prediction)]
        assert figures[value] == pytest.approx((band[0] & band[1]).sum() / (band[0] | band[1]).sum())
    assert 0 < figures[1] < 1


def test_against_the_authors_erosion():
    mask = blobs(3, (75, 64), [1])
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=4)[1:-1, 1:-1]
    np.testing.assert_array_equal(boundary_band(mask, 4) & (mask == 1), (mask - inside) == 1)


def test_a_perfect_prediction_is_perfect_beside_ground_truth_255():
    """VOC's void outlines lie where the outlines are; predictions have no 255 there."""
    exact = blobs(4, (100, 100), [1, 2])
    truth = np.where(boundary_band(exact, 2), np.uint8(255), exact)
    np.testing.assert_array_equal(boundary_iou(boundary_counts(truth, exact)[:, :3]), 1)


def test_predicted_255_is_wrong_and_not_void():
    truth = np.zeros((50, 50), np.uint8)
    prediction = truth.copy()
    prediction[:, 25:] = 255
    both, in_truth, in_prediction = boundary_counts(truth, prediction)
    assert both[0] < in_truth[0]
    assert in_prediction[255] > 0
    both, in_truth, _ = boundary_counts(truth, prediction, prediction == 255)
    assert both[0] == in_truth[0] > 0


def test_a_worse_outline_costs_more_here_than_in_iou():
    truth = np.zeros((200, 200), np.uint8)
    truth[40:160, 40:160] = 1
    prediction = np.zeros_like(truth)
    prediction[44:156, 44:156] = 1
    figure = boundary_iou(boundary_counts(truth, prediction)[:, :2])[1]
    assert figure < 0.3 < 112**2 / 120**2
