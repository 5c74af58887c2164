"""Clutter resembles the classes in parts and colours, and is none of them."""

import numpy as np
import pytest

from wsss_seed.data.toyland.clutter import CLUTTER
from wsss_seed.data.toyland.shapes import BASE, CLASSES, COLOURS, FIXED_COLOURS, SECOND, THIRD, Rng


def test_no_clutter_has_the_name_of_a_class():
    assert not CLUTTER.keys() & set(CLASSES)


@pytest.mark.parametrize("name", CLUTTER)
def test_outlines_lie_in_their_square_and_vary(name):
    outline, colours = CLUTTER[name]
    drawn = [outline(Rng(i)) for i in range(30)]
    for parts in drawn:
        points = np.concatenate([part.points for part in parts])
        assert np.abs(points).max() <= 1.05
        assert np.ptp(points, axis=0).max() > 0.8
        assert all(part.group == 0 for part in parts)  # background has no parts
        assert {part.role for part in parts} <= {BASE, SECOND, THIRD, *FIXED_COLOURS}
    shapes = {np.concatenate([p.points for p in parts]).tobytes() for parts in drawn}
    assert len(shapes) > 1
    assert len(colours) == 3
    assert {c for role in colours for c in role} <= COLOURS.keys()
