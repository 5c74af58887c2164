"""Figures against torchmetrics, a loop, and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import classification

from wsss_seed.evaluation import metrics
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram

K = 6


def maps(seed, truth_values, prediction_values, agree=0.6):
    """Random label maps that agree on about ``agree`` of the pixels, where the values allow it."""
    dice = np.random.default_rng(seed)
    truth = dice.choice(np.array(truth_values, np.uint8), (40, 57))
    prediction = dice.choice(np.array(prediction_values, np.uint8), truth.shape)
    same = (dice.random(truth.shape) < agree) & np.isin(truth, prediction_values)
    return truth, np.where(same, truth, prediction)


def resolved(truth, prediction, policy="background"):
    return metrics.resolve_ignored(confusion_matrix(joint_histogram(truth, prediction), K), policy)


@pytest.mark.parametrize(
    ("truth_values", "prediction_values"),
    [
        (range(K), range(K)),
        ([*range(K), 255], range(K)),
        ([0, 1, 3, 255], [0, 1, 3]),  # classes absent from both
        ([0, 1, 2, 3, 4], [0, 1, 2]),  # classes that are never predicted
    ],
)
def test_against_torchmetrics(truth_values, prediction_values):
    iou = classification.MulticlassJaccardIndex(K, average="none", ignore_index=255, zero_division=float("nan"))
    mean = classification.MulticlassJaccardIndex(K, average="macro", ignore_index=255)
    accuracy = classification.MulticlassAccuracy(K, average="micro", ignore_index=255)
    histogram = 0
    for seed in range(4):  # over several images: one matrix for all, never a mean of images
        truth, prediction = maps(seed, [*truth_values], [*prediction_values])
        histogram = histogram + joint_histogram(truth, prediction)
        for metric in (iou, mean, accuracy):
            metric.update(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    confusion = metrics.resolve_ignored(confusion_matrix(histogram, K), "background")
    ours = metrics.iou(confusion)
    has_truth = confusion.sum(axis=1) > 0
    np.testing.assert_allclose(ours[has_truth], iou.compute().numpy()[has_truth], rtol=1e-6)
    assert np.isnan(ours[~has_truth]).all()
    # No class is predicted that has no ground truth, so both leave the same classes out of the mean.
    assert metrics.mean(ours) == pytest.approx(mean.compute().item(), rel=1e-6)
    assert metrics.pixel_accuracy(confusion) == pytest.approx(accuracy.compute().item(), rel=1e-6)


@pytest.mark.parametrize("policy", metrics.POLICIES)
def test_policies_against_torchmetrics(policy):
    """Each policy is a remapping of the prediction before counting."""
    truth, prediction = maps(0, [*range(K), 255], [*range(K), 255])
    target, guess = truth.astype(np.int64), prediction.astype(np.int64)
    if policy == "background":
        guess[guess == 255] = 0
    elif policy == "wrong":
        guess[guess == 255] = K
    else:
        target[guess == 255] = 255
        guess[guess == 255] = 0
    iou = classification.MulticlassJaccardIndex(K + 1, average="none", ignore_index=255)
    expected = iou(torch.from_numpy(guess), torch.from_numpy(target)).numpy()[:K]
    np.testing.assert_allclose(metrics.iou(resolved(truth, prediction, policy)), expected, rtol=1e-6)


def test_by_hand():
    """Two classes and background on eight pixels, one of them ground-truth 255, two predicted 255."""
    truth = np.array([[0, 0, 0, 1, 1, 1, 2, 255]], np.uint8)
    prediction = np.array([[0, 0, 1, 1, 1, 255, 255, 1]], np.uint8)
    confusion = confusion_matrix(joint_histogram(truth, prediction), 3)
    expected = {"background": [2 / 5, 2 / 4, 0], "wrong": [2 / 3, 2 / 4, 0], "skip": [2 / 3, 2 / 3, np.nan]}
    accuracy = {"background": 4 / 7, "wrong": 4 / 7, "skip": 4 / 5}
    for policy in metrics.POLICIES:
        done = metrics.resolve_ignored(confusion, policy)
        np.testing.assert_allclose(metrics.iou(done), expected[policy])
        assert metrics.mean(metrics.iou(done)) == pytest.approx(np.nanmean(expected[policy]))
        assert metrics.pixel_accuracy(done) == pytest.approx(accuracy[policy])
    assert metrics.coverage(confusion) == pytest.approx(5 / 7)


def test_a_class_that_is_only_predicted_is_left_out_of_the_mean_but_costs_the_others():
    truth = np.zeros((1, 4), np.uint8)
    prediction = np.array([[0, 0, 0, 5]], np.uint8)
    iou = metrics.iou(resolved(truth, prediction))
    assert iou[0] == 3 / 4
    assert np.isnan(iou[5])
    assert metrics.mean(iou) == 3 / 4


def test_policies_agree_without_255():
    truth, prediction = maps(1, range(K), range(K))
    figures = [metrics.mean(metrics.iou(resolved(truth, prediction, policy))) for policy in metrics.POLICIES]
    assert figures[0] == figures[1] == figures[2]


def test_nothing_to_count():
    void = np.full((3, 3), 255, np.uint8)
    confusion = resolved(void, np.zeros_like(void))
    assert np.isnan(
        [metrics.mean(metrics.iou(confusion)), metrics.pixel_accuracy(confusion), metrics.coverage(confusion)]
    ).all()
