"""Repair of masks against segment_anything's own, which works on OpenCV."""

import numpy as np
import pytest
from segment_anything.utils import amg

from wsss_seed.proposals.regions import fill_and_clean


def library(mask, min_area):
    filled, _ = amg.remove_small_regions(mask, min_area, "holes")
    return amg.remove_small_regions(filled, min_area, "islands")[0]


def blobs(rng, h, w, scale, share):
    """Random connected shapes: smoothed noise above a quantile."""
    noise = rng.random((h // scale + 2, w // scale + 2)).repeat(scale, 0).repeat(scale, 1)[:h, :w]
    noise = noise + 0.3 * rng.random((h, w))
    return noise > np.quantile(noise, 1 - share)


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_library(seed):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 90, 2)
    scale, share = rng.integers(1, 12), rng.uniform(0.02, 0.98)
    mask = blobs(rng, h, w, scale, share)
    if seed % 3 == 0:  # an object in a corner of a large image
        mask = np.pad(mask, ((rng.integers(0, 30), 0), (0, rng.integers(0, 30))))
    min_area = int(rng.choice([2, 10, 40, 100]))
    assert mask.any()
    got, want = fill_and_clean(mask, min_area), library(mask, min_area)
    assert got.dtype == bool
    if not np.array_equal(got, want):  # only a tie for the largest of small islands may be broken otherwise
        assert got.sum() == want.sum() < min_area


def test_fills_removes_and_joins_corners():
    mask = np.zeros((60, 80), bool)
    mask[5:25, 5:25] = True
    mask[10:14, 10:14] = False  # a hole of 16 pixels
    mask[40:45, 60:65] = True  # an island of 25
    mask[25:27, 25:27] = True  # 4 pixels joined by a corner
    out = fill_and_clean(mask)
    assert out[10:14, 10:14].all()
    assert not out[40:45, 60:65].any()
    assert out[25:27, 25:27].all()
    assert out.sum() == 404


def test_hole_and_island_of_exactly_the_area_stay():
    mask = np.zeros((40, 60), bool)
    mask[2:32, 2:32] = True
    mask[10:20, 10:20] = False
    mask[2:12, 40:50] = True
    assert np.array_equal(fill_and_clean(mask, 100), mask)
    assert fill_and_clean(mask, 101).sum() == 900


def test_of_small_islands_the_largest_stays():
    mask = np.zeros((50, 50), bool)
    mask[1:4, 1:4] = True
    mask[20:24, 20:24] = True
    mask[40:43, 40:43] = True
    out = fill_and_clean(mask)
    assert out.sum() == 16
    assert out[20:24, 20:24].all()


def test_background_cut_off_at_the_edge_is_a_hole():
    mask = np.ones((200, 200), bool)
    mask[:5, :5] = False
    mask[50:150, 50:150] = False
    out = fill_and_clean(mask)
    assert out[:5, :5].all()
    assert not out[50:150, 50:150].any()


def test_thin_lines_of_background_beyond_the_mask_are_counted_whole():
    mask = np.zeros((300, 40), bool)
    mask[2:, :] = True  # 80 pixels of background above
    assert fill_and_clean(mask).all()
    mask[2] = False  # 120
    assert np.array_equal(fill_and_clean(mask), mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 9)])
def test_empty_stays_empty_and_full_stays_full(shape):
    assert not fill_and_clean(np.zeros(shape, bool)).any()
    assert fill_and_clean(np.ones(shape, bool)).all()


def test_the_argument_is_left_alone():
    mask = np.zeros((30, 30), bool)
    mask[3:6, 3:6] = True
    before = mask.copy()
    out = fill_and_clean(mask)
    out[:] = False
    assert np.array_equal(mask, before)


def test_a_spiral_is_one_piece():
    """A long winding shape needs many joins of labels."""
    n = 61
    mask = np.zeros((n, n), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[y, x] = True
    for _ in range(n * n):
        ny, nx = y + dy, x + dx
        ahead_y, ahead_x = y + 2 * dy, x + 2 * dx
        outside = not (0 <= ny < n and 0 <= nx < n)
        if outside or (0 <= ahead_y < n and 0 <= ahead_x < n and mask[ahead_y, ahead_x]):
            dy, dx = dx, -dy
            if mask[min(max(y + dy, 0), n - 1), min(max(x + dx, 0), n - 1)]:
                break
            continue
        y, x = ny, nx
        mask[y, x] = True
    mask[-1, -1] = False
    assert np.array_equal(fill_and_clean(mask, 100), library(mask, 100))
