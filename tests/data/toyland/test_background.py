"""Places: drawn at any size, each with its look, and at home to classes that there are."""

import numpy as np
import pytest

from wsss_seed.data.toyland.background import PLACES, background, jitter, smooth_noise
from wsss_seed.data.toyland.shapes import CLASSES, Rng


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [(1, 1), (2, 90), (75, 100)])
def test_a_place_fills_an_image_of_any_size(place, size):
    for seed in range(5):
        canvas = background(Rng(seed), place, *size)
        assert canvas.shape == (*size, 3)
        assert canvas.dtype == np.float32
        assert -60 <= canvas.min() <= canvas.max() <= 320  # clipped when the scene is done


def test_places_look_as_they_are_called():
    means = {place: np.mean([background(Rng(i), place, 60, 80).mean((0, 1)) for i in range(8)], 0) for place in PLACES}
    assert means["night"].max() < min(m.min() for place, m in means.items() if place not in ("night", "pattern"))
    assert means["snow"].min() > 150
    assert means["grass"][1] > means["road"][1] - 5
    below = {place: background(Rng(3), place, 60, 80)[50:].mean((0, 1)) for place in ("grass", "water", "table")}
    assert below["grass"].argmax() == 1
    assert below["water"].argmax() == 2
    assert below["table"].argmax() == 0


def test_shares_add_up_and_classes_are_at_home_somewhere():
    assert sum(share for share, _ in PLACES.values()) == pytest.approx(1)
    assert {name for _, home in PLACES.values() for name in home} == set(CLASSES)


def test_noise_is_smooth_and_goes_through_its_grid():
    noise = smooth_noise(Rng(0), 33, 65, 9)
    grid = Rng(0).array(9, 9).astype(np.float32)
    np.testing.assert_allclose(noise[::4, ::8], grid, atol=1e-6)
    np.testing.assert_allclose(noise[2, ::8], (grid[0] + grid[1]) / 2, atol=1e-6)
    assert smooth_noise(Rng(0), 1, 1, 3).shape == (1, 1)


def test_a_jittered_colour_stays_near_and_within_range():
    colours = np.array([jitter(Rng(i), (250, 5, 128), 22) for i in range(200)])
    assert colours.dtype == np.float32
    assert (np.abs(colours - (250, 5, 128)) <= 22).all()
    assert (colours.min(), colours.max()) == (0, 255)
    assert np.ptp(colours[:, 2]) > 30
