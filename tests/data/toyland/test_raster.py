"""Polygons filled in integers, sines from a table, and outlines of masks."""

import numpy as np
import pytest

from wsss_seed.data.toyland.raster import Patch, cos, fill, rim, sin


def whole(patch: Patch, height: int, width: int) -> np.ndarray:
    """The patch on its canvas."""
    canvas = np.zeros((height, width), bool)
    canvas[patch.where] = patch.mask
    return canvas


def crossings(points: np.ndarray, x: float, y: float) -> int:
    """How many edges of a polygon lie to the left of a point, one edge at a time."""
    count = 0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        if (y0 <= y) != (y1 <= y):
            count += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return count


@pytest.mark.parametrize("seed", range(5))
def test_a_pixel_belongs_to_the_polygon_where_its_centre_does(seed):
    """By the even-odd rule, self-intersections and parts outside the canvas included."""
    points = np.random.default_rng(seed).uniform(-10, 40, (7, 2))
    points = np.round(points * 8) / 8 + 1 / 32  # on the grid of corners, and off the centres of pixels
    found = whole(fill(points, 30, 25), 30, 25)
    want = [[crossings(points, x + 0.5, y + 0.5) % 2 == 1 for x in range(25)] for y in range(30)]
    assert (found != np.array(want)).mean() < 0.005  # centres within the 32nd part of a pixel of an edge


def test_neighbours_that_share_an_edge_share_no_pixel_and_leave_none_out():
    corners = np.array([(3.3, 2.1), (17.9, 5.5), (14.2, 18.8), (1.7, 12.4)])
    middle = np.array([9.1, 9.7])
    parts = [np.stack([corners[i], corners[(i + 1) % 4], middle]) for i in range(4)]
    covered = sum(whole(fill(p, 20, 20), 20, 20).astype(int) for p in parts)
    np.testing.assert_array_equal(covered, whole(fill(corners, 20, 20), 20, 20))


def test_a_patch_is_where_its_rectangle_is_and_no_larger():
    patch = fill(np.array([(2, 3), (7, 3), (7, 5), (2, 5)], float), 10, 10)
    assert (patch.top, patch.left, patch.area) == (3, 2, 10)
    assert whole(patch, 10, 10)[3:5, 2:7].all()


@pytest.mark.parametrize("corner", [(-50, 0), (50, 0), (0, -50), (0, 50)])
def test_nothing_is_left_of_a_polygon_outside_the_canvas(corner):
    square = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float) + corner
    patch = fill(square, 10, 12)
    assert patch.area == 0
    assert not whole(patch, 10, 12).any()


def test_the_table_is_the_sine_within_its_steps():
    turns = np.linspace(-2, 2, 999)
    assert np.abs(sin(turns) - np.sin(2 * np.pi * turns)).max() < np.pi / 4096 + 1e-6
    assert np.abs(cos(turns) - np.cos(2 * np.pi * turns)).max() < np.pi / 4096 + 1e-6
    assert [float(sin(t)) for t in (0, 0.25, 0.5, 0.75, 1, 7.25)] == [0, 1, 0, -1, 0, 1]


def test_the_rim_is_the_outermost_pixels():
    mask = np.zeros((7, 8), bool)
    mask[1:6, 1:7] = True
    inner = np.zeros_like(mask)
    inner[2:5, 2:6] = True
    np.testing.assert_array_equal(rim(mask), mask & ~inner)
    assert rim(np.ones((3, 3), bool)).sum() == 8  # the border of the patch is outside, too
    assert not rim(np.zeros((3, 3), bool)).any()
