"""Refinement by attention affinity on matrices and maps one can follow by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from wsss_seed.proposals.regions import region_boxes
from wsss_seed.seeding.clip_sams.affinity import affinity, box_mask, refine
from wsss_seed.seeding.clip_sams.maps import minmax, resized, score

W = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])


def close(got, expected, atol=1e-5):
    assert torch.allclose(got, torch.tensor(expected), atol=atol)


def test_sinkhorn_then_symmetry_then_power():
    """Against numbers worked out by hand from the definition."""
    once = affinity(W, 1)
    close(once, [[0.578947, 0.192581, 0.212118], [0.192581, 0.578313, 0.237602], [0.212118, 0.237602, 0.558140]])
    close(
        once @ once,
        [[0.417261, 0.273266, 0.286954], [0.273266, 0.427988, 0.310873], [0.286954, 0.310873, 0.412968]],
    )
    assert torch.equal(affinity(W, 0), (W + W.T) / 2)


def test_three_rounds_come_closer_to_doubly_stochastic():
    """R counts complete rounds, columns before rows."""
    steps = W
    for _ in range(3):
        steps = steps / steps.sum(0)
        steps = steps / steps.sum(1)[:, None]
    assert torch.allclose(affinity(W, 3), (steps + steps.T) / 2, atol=1e-6)


def test_half_precision_records_are_computed_in_single():
    assert affinity(W.half()).dtype == torch.float32


def test_sources_inside_boxes_reach_every_patch():
    """B = [1, 1, 0], X = [1, .5, -.2] -> the third patch receives as well."""
    cams = torch.tensor([[[1.0, 0.5, -0.2, -1]]])
    attention = torch.eye(4)
    attention[:3, :3] = W
    # the score is [1, .5, 0, 0]: its box covers the first two patches, here without the quirk of a single row
    got = refine(cams, attention, apply_to="cam", box_clip_quirk=False)
    close(got, [[[0.553894, 0.487260, 0.442390, 0.0]]])
    got = refine(cams, attention, apply_to="score", box_clip_quirk=False)
    close(got, [[[0.553894, 0.487260, 0.442390, 0.0]]], atol=1e-5)


def test_what_is_spread_is_the_score_or_the_signed_map():
    """Inside a box there may be negative values."""
    cams = torch.full((1, 5, 5), -1.0)
    cams[0, 1:4, 1:4] = 4.0
    cams[0, 2, 2] = -3.0
    attention = torch.eye(25)
    assert refine(cams, attention, apply_to="cam")[0, 2, 2] == -3
    spread = refine(cams, attention, apply_to="score")
    assert spread[0, 2, 2] == 0
    assert torch.allclose(spread, score(cams))
    assert (refine(cams, attention, apply_to="cam")[0, 0] == 0).all()


@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_mask_comes_after_the_power(power):
    """Masking before the power gives something else."""
    torch.manual_seed(0)
    attention, cams = torch.rand(20, 20) + 0.1, torch.randn(3, 4, 5)
    boxes, a = box_mask(score(cams), 0.4), affinity(attention)
    masked = torch.linalg.matrix_power(a, power) * boxes.flatten(1)[:, None]
    expected = (masked @ score(cams).flatten(1)[..., None])[..., 0].view(3, 4, 5)
    assert torch.allclose(refine(cams, attention, power=power), expected, atol=1e-6)


def test_no_box_gives_no_map():
    """A map without positive values."""
    assert not refine(-torch.ones(2, 4, 5), torch.eye(20), apply_to="cam").any()
    assert refine(torch.zeros(0, 4, 5), torch.eye(20)).shape == (0, 4, 5)


def test_boxes_round_pieces_and_the_quirk_at_the_border():
    scores = torch.zeros(1, 6, 7)
    scores[0, 1, 1] = scores[0, 2, 2] = 1.0  # one piece over a corner
    scores[0, 3:, 5:] = 0.9  # touches the last row and column
    expected = torch.zeros(1, 6, 7, dtype=torch.bool)
    expected[0, 1:3, 1:3] = True
    expected[0, 3:5, 5:6] = True
    assert torch.equal(box_mask(scores, 0.4), expected)
    expected[0, 3:, 5:] = True
    assert torch.equal(box_mask(scores, 0.4, box_clip_quirk=False), expected)
    thin = torch.zeros(1, 6, 7)
    thin[0, 2:4, 6] = 1
    assert not box_mask(thin, 0.4).any()


def test_the_threshold_is_that_of_the_truncated_score_and_strict():
    """q8 = floor(255 s), tau8 = floor(theta max(q8)), q8 > tau8."""
    scores = torch.tensor([[[1.0, 102.9 / 255, 103.0 / 255, 0, 0], [0, 0, 0, 0, 0]]])
    assert box_mask(scores, 0.4, box_clip_quirk=False)[0, 0].tolist() == [True, False, True, False, False]


def test_boxes_are_those_of_opencv_s_contours():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(rng.integers(1, 12, 2))
        mask = rng.random(shape) < rng.choice([0.2, 0.5, 0.8])
        found = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
        expected, got = np.zeros(shape, bool), np.zeros(shape, bool)
        for contour in found:
            x, y, w, h = cv2.boundingRect(contour)
            expected[y : min(y + h, shape[0] - 1), x : min(x + w, shape[1] - 1)] = True
        for x0, y0, x1, y1 in region_boxes(mask):
            got[y0 : min(y1, shape[0] - 1), x0 : min(x1, shape[1] - 1)] = True
        assert np.array_equal(got, expected)


def test_scores_and_sizes():
    """Each map for itself, 1e-7 added to the range."""
    maps = torch.tensor([[[-1.0, 1.0], [2.0, 4.0]], [[-3.0, -2.0], [-1.0, -5.0]]])
    assert torch.allclose(score(maps)[0], torch.tensor([[0, 0.25], [0.5, 1.0]]))
    assert not score(maps)[1].any()
    assert minmax(torch.tensor([0.0, 1e-7]), (-1,))[1] == pytest.approx(0.5)
    assert resized(torch.tensor([[[0.0, 4.0]]]), (1, 4))[0, 0].tolist() == [0, 1, 3, 4]
    assert resized(torch.zeros(0, 2, 2), (3, 5)).shape == (0, 3, 5)
