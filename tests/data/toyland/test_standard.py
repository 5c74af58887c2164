"""The standard scene: its sizes, its numbers of objects, and objects that keep their distance."""

from collections import Counter

import numpy as np
import pytest

from wsss_seed.data.toyland.background import PLACES
from wsss_seed.data.toyland.shapes import CLASSES, Rng
from wsss_seed.data.toyland.standard import figures, size


def test_sizes_are_those_of_small_photographs():
    sizes = [size(Rng(i)) for i in range(400)]
    longs, shorts = [max(s) for s in sizes], [min(s) for s in sizes]
    assert (min(longs), max(longs)) == (112, 160)
    assert min(a / b for a, b in zip(shorts, longs, strict=True)) >= 0.65
    assert 0.55 < np.mean([w > h for h, w in sizes]) < 0.75


def test_one_to_four_objects_in_front_of_the_clutter():
    counts, cluttered = Counter(), 0
    for i in range(300):
        found = figures(Rng(i), "grass", 100, 140)
        kinds = [one.index is not None for one in found]
        assert kinds == sorted(kinds)  # clutter first, which is behind
        counts[sum(kinds)] += 1
        cluttered += not kinds[0]
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 15
    assert 0.25 < cluttered / 300 < 0.45


@pytest.mark.parametrize("place", ["water", "pattern"])
def test_half_of_the_objects_are_at_home_where_a_place_has_any(place):
    names = [
        CLASSES[one.index] for i in range(200) for one in figures(Rng(i), place, 100, 140) if one.index is not None
    ]
    home = PLACES[place][1]
    share = sum(name in home for name in names) / len(names)
    expected = 0.5 + 0.5 * len(home) / len(CLASSES) if home else 0
    assert share == pytest.approx(expected, abs=0.1)
    assert set(names) == set(CLASSES)


def test_the_same_numbers_draw_the_same_figures():
    first, again = (figures(Rng(5), "road", 90, 130) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert (a.index, a.colour, len(a.patches)) == (b.index, b.colour, len(b.patches))
        for (p, shade, *_), (q, other, *_) in zip(a.patches, b.patches, strict=True):
            np.testing.assert_array_equal(p.mask, q.mask)
            np.testing.assert_array_equal(shade, other)
