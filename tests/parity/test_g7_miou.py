"""Confusion matrix and mIoU, as the original has them."""

from __future__ import annotations

import numpy as np

from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import iou, mean, pixel_accuracy

GOLDEN = "g7_miou"


def test_evaluation(g, case):
    config = g.cases[case]
    pairs = [(g(case, f"img{i}", "gt"), g(case, f"img{i}", "pred")) for i in range(config["n_images"])]
    confusion = confusion_matrix(sum(joint_histogram(*pair) for pair in pairs), config["class_num"])
    assert np.array_equal(confusion[:, :-1], g(case, "confusion"))
    assert not confusion[:, -1].any()
    got, expected = iou(confusion), g(case, "cls_iou")
    occurs = g(case, "confusion").sum(1) > 0
    assert np.array_equal(~np.isnan(got), occurs)
    assert np.abs(got - expected)[occurs].max() <= 1e-6
    assert abs(mean(got) - g(case, "miou")) <= 1e-6
    assert abs(pixel_accuracy(confusion) - g(case, "accuracy")) <= 1e-6
    with np.errstate(invalid="ignore"):
        hits = np.diagonal(confusion).astype(float)
        assert abs(np.nanmean(hits / confusion.sum(0)[:-1]) - g(case, "macro_avg_precision")) <= 1e-6
        assert abs(np.nanmean(hits / confusion.sum(1)) - g(case, "macro_avg_recall")) <= 1e-6
