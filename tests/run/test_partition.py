"""Counts by region are those by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.data.classes import IGNORE
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.run.partition import Partition

SHAPE, CLASSES = (20, 30), 4


def random_mask(dice: np.random.Generator) -> tuple[int, int, np.ndarray]:
    """A mask in a window, often solid, sometimes scattered or empty."""
    y0, y1 = np.sort(dice.choice(SHAPE[0] + 1, 2, replace=False))
    x0, x1 = np.sort(dice.choice(SHAPE[1] + 1, 2, replace=False))
    return x0, y0, dice.random((y1 - y0, x1 - x0)) < dice.choice([0, 0.5, 1, 1])


@pytest.mark.parametrize("seed", range(10))
def test_counts_are_those_of_pixels(seed):
    dice = np.random.default_rng(seed)
    truth = dice.choice([0, 1, 3, IGNORE], SHAPE).astype(np.uint8)
    regions, masks = Partition(truth, CLASSES), []
    for x, y, mask in (random_mask(dice) for _ in range(8)):
        regions.add(x, y, mask)
        masks.append(np.zeros(SHAPE, bool))
        masks[-1][y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        rows = dice.permutation(len(masks)).tolist()
        expected = [[(masks[i] & masks[j]).sum() for j in rows] for i in rows]
        assert regions.overlaps(rows).tolist() == expected

        whole, by_region = np.zeros(SHAPE, np.uint8), np.zeros(len(regions), np.uint8)
        for row in rows:
            label = dice.choice([0, 1, 2, 3, IGNORE])
            whole[masks[row]] = label
            by_region[regions.masks[row]] = label
        expected = confusion_matrix(joint_histogram(truth, whole), CLASSES)
        assert regions.confusion(by_region).tolist() == expected.tolist()


def test_only_outlines_divide():
    regions = Partition(np.zeros(SHAPE, np.uint8), CLASSES)
    outer, inner = np.ones((10, 10), bool), np.ones((4, 4), bool)
    for _ in range(3):
        regions.add(5, 5, outer)
        regions.add(6, 6, inner)
        regions.add(0, 0, np.ones(SHAPE, bool))
    assert len(regions) == 3


def test_no_masks():
    truth = np.full(SHAPE, 2, np.uint8)
    regions = Partition(truth, CLASSES)
    assert regions.overlaps([]).shape == (0, 0)
    assert regions.confusion(np.array([IGNORE], np.uint8))[2, CLASSES] == truth.size
