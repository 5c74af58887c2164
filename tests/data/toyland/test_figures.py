"""Figures: an outline at its place, of its size, in its colours."""

from collections import Counter

import numpy as np
import pytest

from wsss_seed.data.toyland.clutter import CLUTTER
from wsss_seed.data.toyland.figures import SCALE, figure
from wsss_seed.data.toyland.shapes import CLASSES, COLOURS, TYPICAL, Rng


def drawn(name: str, seed: int, x: float = 60, y: float = 40, radius: float = 20) -> tuple:
    one = figure(Rng(seed), name, x, y, radius, 80, 120)
    canvas = np.zeros((80 * SCALE, 120 * SCALE), bool)
    for patch, *_ in one.patches:
        canvas[patch.where] |= patch.mask
    return one, canvas


@pytest.mark.parametrize("name", ["house", "fish", "cone"])
def test_a_figure_is_about_its_centre_and_of_about_its_size(name):
    for seed in range(20):
        _, canvas = drawn(name, seed)
        y, x = np.nonzero(canvas)
        assert abs(x.mean() / SCALE - 60) < 12
        assert abs(y.mean() / SCALE - 40) < 12
        longest = max(np.ptp(x), np.ptp(y)) / SCALE
        assert 20 < longest < 2 * 20 * 1.7


def test_objects_have_the_index_of_their_class_and_clutter_has_none():
    for name in (*CLASSES, *CLUTTER):
        one, canvas = drawn(name, 0)
        assert one.index == (CLASSES.index(name) if name in CLASSES else None)
        assert one.colour in COLOURS
        assert canvas.any()


def test_colours_are_mostly_those_typical_of_the_class():
    seen = Counter(drawn("star", seed)[0].colour for seed in range(200))
    assert TYPICAL["star"][0] == ("yellow",)
    assert 0.6 < seen["yellow"] / 200 < 0.85  # 0.7, and a tenth of the others
    assert len(seen) > 5


def test_what_lies_outside_the_image_is_cut_off():
    one = figure(Rng(0), "house", -500, -500, 20, 80, 120)
    assert sum(patch.area for patch, *_ in one.patches) == 0
