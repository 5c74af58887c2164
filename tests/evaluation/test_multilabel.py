"""Quality of multi-label classification against hand-computed numbers and torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multilabel_average_precision

from wsss_seed.evaluation.multilabel import average_precision, multilabel_report


def test_average_precision_by_hand():
    """Ranked: hit, miss, hit -> 1/2 * 1 + 1/2 * 2/3. Two images of equal score are one step: 2 images, 1 hit."""
    assert average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])) == pytest.approx(5 / 6)
    assert average_precision(np.array([0.5, 0.5]), np.array([1, 0])) == pytest.approx(0.5)
    assert average_precision(np.array([0.5]), np.array([0])) is None


def test_report_by_hand():
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]])
    decided = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [0, 0, 0]])
    r = multilabel_report(decided * 0.5, labels, decided)
    assert r["precision"] == pytest.approx([2 / 3, 1.0, 0.0])
    assert r["recall"][:2] == pytest.approx([2 / 3, 1 / 2])
    assert r["recall"][2] is None
    assert r["f1"] == pytest.approx([2 / 3, 2 / 3, 0.0])
    assert r["per_class_ap"][2] is None
    assert r["micro_precision"] == pytest.approx(3 / 5)
    assert r["micro_recall"] == pytest.approx(3 / 5)


def test_map_is_that_of_torchmetrics():
    rng = np.random.default_rng(0)
    labels = rng.random((200, 5)) < 0.3
    scores = np.clip(labels * 0.3 + rng.random((200, 5)).round(2) * 0.6, 0, 1)  # rounded, so that there are ties
    theirs = multilabel_average_precision(torch.tensor(scores), torch.tensor(labels.astype(int)), num_labels=5)
    assert multilabel_report(scores, labels, labels)["map"] == pytest.approx(float(theirs), abs=1e-6)
