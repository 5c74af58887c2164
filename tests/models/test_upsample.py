"""Upsampling as matrices and in windows gives what interpolating the whole gives."""

import pytest
import torch
from torch.nn import functional as F

from tests.rounding import assert_same
from wsss_seed.models import upsample
from wsss_seed.models.upsample import interpolation_matrix, upsampled, upsampled_windows

# As SAM does for an image of 60 x 91: to the size of its input, the padding cut off, then to the image.
STEPS = (((128, 128), (84, 128)), ((60, 91), (60, 91)))


def interpolated(low_res):
    grown = low_res[None]
    for size, (height, width) in STEPS:
        grown = F.interpolate(grown, size, mode="bilinear", align_corners=False)[..., :height, :width]
    return grown[0]


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def matrices():
    return tuple(
        interpolation_matrix(32, [(size[axis], kept[axis]) for size, kept in STEPS], torch.device("cpu"))
        for axis in (0, 1)
    )


@pytest.mark.parametrize("shape", [(5, 32, 32), (5, 3, 32, 32), (0, 3, 32, 32)])
@pytest.mark.parametrize("portion", [1, 2**25])
def test_portions_change_nothing(shape, portion, monkeypatch):
    monkeypatch.setattr(upsample, "_LOGIT_PIXELS", portion)
    low_res = logits(*shape)
    found = upsampled(low_res, STEPS)
    assert found.shape == (*shape[:-2], 60, 91)
    if len(low_res):  # torch interpolates no empty batch
        assert_same(found.flatten(0, -3), interpolated(low_res.flatten(0, -3)))


def test_matrices_are_the_interpolation_of_each_axis(matrices):
    down, across = matrices
    assert (down.shape, across.shape) == ((60, 32), (91, 32))
    assert_same(down.sum(1), torch.ones(60))  # each pixel is a weighted mean
    assert (down >= 0).all()
    low_res = logits(4, 32, 32)
    assert_same(down @ low_res @ across.T, interpolated(low_res))


@pytest.mark.parametrize("portion", [1, 3 * 60 * 91, 2**19])
def test_windows_hold_everything_above_the_floor_once(matrices, portion, monkeypatch):
    monkeypatch.setitem(upsample.WINDOW_PIXELS, "cpu", portion)
    low_res = torch.full((7, 32, 32), -4.0)
    for i in range(6):  # the seventh is nowhere above the floor
        low_res[i, 3 * i : 3 * i + 4, 2 * i : 2 * i + 5] = logits(4, 5, seed=i).abs() + 0.1
    want = interpolated(low_res)
    seen, found = [], torch.full_like(want, -100)
    for which, top, left, part in upsampled_windows(*matrices, low_res, 0.0):
        seen += which.tolist()
        found[which, top : top + part.shape[1], left : left + part.shape[2]] = part
    assert sorted(seen) == list(range(6))
    inside = found > -100
    assert_same(found[inside], want[inside])
    assert (want[~inside] <= 0).all()
    assert inside[:6].float().mean() < (0.3 if portion == 1 else 1)


def test_masks_in_the_padding_only_have_no_window(matrices):
    """Rows 28 to 31 of the grid lie below the image."""
    low_res = torch.full((1, 32, 32), -4.0)
    low_res[0, 28:] = 4
    assert interpolated(low_res).max() <= 0
    assert list(upsampled_windows(*matrices, low_res, 0.0)) == []
