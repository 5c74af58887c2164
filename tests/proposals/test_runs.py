"""Boxes, run lengths and stability of masks, against segment_anything's own and pycocotools."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from segment_anything.utils import amg

from wsss_seed.proposals.generate import stability_scores
from wsss_seed.proposals.runs import changes, encoded, window_boxes

SIZE = (40, 30)


def masks(height, width, seed=0):
    """Rectangles, noise, a mask of everything, one of nothing, and single pixels in two corners."""
    rng = np.random.default_rng(seed)
    found = rng.random((9, height, width)) < rng.random((9, 1, 1))
    found[0, height // 3 :, : width // 2 + 1] = True
    found[1], found[2] = True, False
    found[3], found[4] = False, False
    found[3, 0, 0] = found[4, -1, -1] = True
    return torch.from_numpy(found)


@pytest.mark.parametrize("window", [(0, 0, 40, 30), (0, 7, 40, 5), (0, 0, 12, 30), (28, 3, 12, 27), (5, 0, 30, 30)])
def test_runs_are_those_of_pycocotools_and_of_the_library(window):
    """The window is as tall as the image, as wide, at its top, its bottom, or inside."""
    top, left, height, width = window
    found = masks(height, width)
    whole = torch.zeros(len(found), *SIZE, dtype=torch.bool)
    whole[:, top : top + height, left : left + width] = found
    at, counts = changes(found, top, left, SIZE[0])
    got = [encoded(part.numpy(), SIZE) for part in at.split(counts.tolist())]
    assert got == [rle.encode(np.asfortranarray(mask, np.uint8)) for mask in whole.numpy()]
    plain = amg.mask_to_rle_pytorch(whole)
    assert [mask["counts"].decode() for mask in got] == [amg.coco_encode_rle(p)["counts"] for p in plain]


@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_those_of_the_library(seed):
    found = masks(12, 17, seed)
    found = found[found.flatten(1).any(1)]
    want = amg.batched_mask_to_box(found) + torch.tensor([5, 3, 5, 3])
    assert torch.equal(window_boxes(found, 3, 5), want)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0])
def test_stability_is_that_of_the_library(offset):
    logits = torch.randn(20, 31, 23, generator=torch.Generator().manual_seed(0)) * 2
    assert torch.equal(stability_scores(logits, offset), amg.calculate_stability_score(logits, 0.0, offset))


def test_no_masks():
    at, counts = changes(torch.zeros(0, 4, 5, dtype=torch.bool), 0, 0, 4)
    assert (len(at), len(counts)) == (0, 0)
    assert window_boxes(torch.zeros(0, 4, 5, dtype=torch.bool), 0, 0).shape == (0, 4)
