"""SAM-based seeding and pixel-level seeds on small masks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from wsss_seed.seeding.clip_sams.pixel_seed import pixel_seed
from wsss_seed.seeding.clip_sams.sams import assign_labels, mask_means, mask_scores, overlay_order, runs_of, sams


def columns(start, stop, width=8, height=2):
    mask = np.zeros((height, width), bool)
    mask[:, start:stop] = True
    return mask


def test_scores_by_hand():
    """Two classes, three masks, exponent 0.6."""
    means = np.array([[0, 1, 4], [2, 0, 1]], np.float32)
    scores = mask_scores(means, 0.6)
    expected = [[0, 0.8415, 0], [0, 0.25, 1], [1, 0, 0.5]]
    assert np.allclose(scores, expected, atol=1e-4)
    votes = assign_labels(scores, [6, 2])
    assert votes.labels.tolist() == [3, 0, 7]
    assert np.allclose(votes.confidence, [1, 0.8415, 1], atol=1e-4)
    assert np.allclose(votes.margin, [1, 0.8415 - 0.25, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("exponent", "cut"),
    [(0.3, 0.6981), (0.4, 0.6540), (0.5, 0.6180), (0.6, 0.5877), (0.7, 0.5615), (1, 0.5), (2, 0.3820), (3, 0.3177)],
)
def test_below_which_score_a_mask_is_background(exponent, cut):
    """An exponent below 1 raises the cut above 0.5."""
    for value, label in ((cut - 1e-3, 0), (cut + 1e-3, 1)):
        vote = assign_labels(mask_scores(np.array([[0, value, 1]], np.float32), exponent), [0])
        assert vote.labels.tolist() == [0, label, 1]


def test_background_wins_a_tie():
    """0.5 against 0.5 with exponent 1."""
    scores = np.array([[0.5, 0.2], [0.5, 0.8], [0.1, 0.8]], np.float32)
    assert assign_labels(scores, [4, 5]).labels.tolist() == [0, 5]


def test_a_single_mask_is_background():
    labels, confidence, _ = sams(torch.ones(1, 2, 8), [3], [columns(2, 5)], [2], 0.6, (2, 8))
    assert not labels.any()
    assert confidence[0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_level_before_confidence():
    """A whole-level background mask of less confidence erases a part-level foreground mask."""
    assert overlay_order(np.array([1, 2]), np.array([1.0, 0.6])).tolist() == [0, 1]
    assert overlay_order(np.array([2, 1, 1]), np.array([0.6, 1.0, 0.7])).tolist() == [2, 1, 0]
    assert overlay_order(np.array([2, 2]), np.array([0.6, 0.6])).tolist() == [0, 1]  # A4.9: list order
    cams = torch.tensor([[[1.0, 1, 1, 1, 0, 0, 0, 0]] * 2])
    masks = [columns(0, 4), columns(2, 8), columns(7, 8)]
    seed = sams(cams, [0], masks, [1, 2, 2], 1.0, (2, 8))
    assert seed.labels[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert np.allclose(seed.confidence[0], [1, 1, *[2 / 3] * 5, 1], atol=1e-6)
    assert np.allclose(seed.margin[0], [1, 1, *[1 / 3] * 5, 1], atol=1e-6)
    assert seed.labels.dtype == np.uint8


def test_an_object_larger_than_one_can_be_is_undecided():
    """No proposal stands for the object at the left, so that min-max makes the rest of the image the best there is."""
    cams = torch.tensor([[[9.0, 9, 2, 2, 2, 2, 2, 2, 2, 1]] * 2])
    masks, levels, size = [columns(2, 9, 10), columns(9, 10, 10)], [2, 2], (2, 10)
    assert sams(cams, [4], masks, levels, 1.0, size).labels[0].tolist() == [0, 0, *[5] * 7, 0]
    assert sams(cams, [4], masks, levels, 1.0, size, 0.7).labels[0].tolist() == [0, 0, *[5] * 7, 0]
    seed = sams(cams, [4], masks, levels, 1.0, size, 0.6)
    assert seed.labels[0].tolist() == [0, 0, *[255] * 7, 0]
    assert not seed.confidence[0, 2:9].any()
    assert seed.confidence[0, 9] == 1
    background = [columns(1, 10, 10), columns(0, 1, 10)]  # however large, a mask of background is what it was
    assert sams(cams, [4], background, levels, 1.0, size, 0.6).labels[0].tolist() == [5, *[0] * 9]


def test_relu_before_the_mean_and_enlargement_before_both():
    cams = torch.tensor([[[4.0, -4.0]]])
    runs = [runs_of(columns(0, 4, 4, 1)), runs_of(columns(2, 4, 4, 1))]
    enlarged = torch.tensor([[[4.0, 2.0, -2.0, -4.0]]])
    assert mask_means(enlarged.relu(), runs).tolist() == [[1.5, 0.0]]
    seed = sams(cams, [0], [columns(0, 4, 4, 1), columns(2, 4, 4, 1)], [0, 0], 0.6, (1, 4))
    assert seed.labels.tolist() == [[1, 1, 0, 0]]  # the signed means, 0 and -3, would give background only


def test_means_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    masks, maps = rng.random((20, 13, 17)) < 0.4, rng.random((3, 13, 17)).astype(np.float32)
    masks[3] = True
    masks[4] = False
    masks[4, -1, -1] = True
    expected = np.einsum("chw,shw->cs", maps, masks) / masks.sum((1, 2))
    assert np.allclose(mask_means(torch.from_numpy(maps), [runs_of(m) for m in masks]), expected, atol=1e-6)


def test_runs():
    for mask in (np.zeros((2, 3), bool), np.ones((2, 3), bool), np.random.default_rng(1).random((7, 9)) < 0.5):
        runs = runs_of(mask)
        flat = np.zeros(mask.size, bool)
        for start, end in zip(*runs, strict=True):
            flat[start:end] = True
        assert np.array_equal(flat.reshape(mask.shape), mask)
        assert runs.area == mask.sum()


def test_masks_of_every_kind_give_the_same_seed():
    rng = np.random.default_rng(2)
    masks, levels = rng.random((12, 9, 11)) < 0.4, rng.integers(0, 3, 12)
    cams = torch.from_numpy(rng.normal(size=(3, 4, 5)).astype(np.float32))
    dense = sams(cams, [0, 4, 7], masks, levels, 0.6, (9, 11))
    packed = [rle.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
    for others in (packed, (m for m in masks.astype(np.uint8)), [runs_of(m) for m in masks]):
        for got, expected in zip(sams(cams, [0, 4, 7], others, levels, 0.6, (9, 11)), dense, strict=True):
            assert np.array_equal(got, expected)
    assert set(np.unique(dense.labels)) <= {0, 1, 5, 8}
    assert len(np.unique(dense.labels)) > 2


def test_empty_masks_are_left_out():
    cams = torch.tensor([[[1.0, 1, 1, 1, 0, 0, 0, 0]] * 2])
    masks = [columns(0, 4), columns(3, 3), columns(4, 8)]
    with_empty = sams(cams, [0], masks, [2, 2, 2], 0.6, (2, 8))
    assert np.array_equal(with_empty.labels, sams(cams, [0], masks[::2], [2, 2], 0.6, (2, 8)).labels)
    assert with_empty.labels[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_nothing_to_judge_is_background_without_confidence():
    for cams, classes, masks in (
        (torch.ones(1, 2, 2), [0], []),
        (torch.ones(1, 2, 2), [0], [columns(1, 1)]),
        (torch.ones(0, 2, 2), [], [columns(1, 2)]),
    ):
        seed = sams(cams, classes, masks, [2] * len(masks), 0.6, (2, 8))
        assert seed.labels.shape == (2, 8)
        assert not any(np.any(part) for part in seed)


def test_masks_need_levels():
    with pytest.raises(ValueError, match="one level each"):
        sams(torch.ones(1, 2, 2), [0], [columns(1, 2)], [], 0.6, (2, 8))
    with pytest.raises(ValueError, match="2 x 4 pixels"):
        sams(torch.ones(1, 2, 2), [0], [columns(1, 8)], [2], 0.6, (2, 4))


def test_pixel_seed_by_hand():
    """Enlarge, then normalise; (1 - score) ** e against the scores; ties to background, then class order."""
    cams = torch.tensor([[[0.0, 1.0, 2.0, 4.0]], [[8.0, 0.0, -8.0, 8.0]]])
    labels, confidence = pixel_seed(cams, [2, 5], (1, 4))
    assert labels.tolist() == [[6, 0, 0, 3]]  # 1, 0.25 -> 0.75, 0.5 against 0.5, 1 against 1
    assert np.allclose(confidence, [[1, 0.75, 0.5, 1]], atol=1e-6)
    assert pixel_seed(cams, [2, 5], (1, 4), 3.0)[0].tolist() == [[6, 0, 3, 3]]
    peak = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
    assert pixel_seed(peak, [0], (1, 8))[1].max() == pytest.approx(1)  # enlarged, its maximum is 3


def test_pixel_seed_without_classes():
    labels, confidence = pixel_seed(torch.zeros(0, 2, 2), [], (3, 4))
    assert not labels.any()
    assert (confidence == 1).all()


@pytest.mark.slow
def test_a_large_photograph_needs_less_than_four_gigabytes():
    """4000 x 3000 pixels, 120 masks, 5 classes; in a process of its own, for its peak memory."""
    code = """
import resource, numpy as np, torch
from pycocotools import mask as rle
from wsss_seed.seeding.clip_sams.sams import sams
from wsss_seed.seeding.clip_sams.pixel_seed import pixel_seed
yy, xx = np.ogrid[:3000, :4000]
rng = np.random.default_rng(0)
masks = []
for x, y, r in zip(rng.integers(0, 4000, 120), rng.integers(0, 3000, 120), rng.integers(50, 1500, 120)):
    masks.append(rle.encode(np.asfortranarray((xx - x) ** 2 + (yy - y) ** 2 < r * r, dtype=np.uint8)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cams = torch.randn(5, 47, 63)
seed = sams(cams, range(5), masks, [2] * 120, 0.6, (3000, 4000))
assert seed.labels.any()
pixel_seed(cams, range(5), (3000, 4000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4
