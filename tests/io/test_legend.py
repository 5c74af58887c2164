"""Text in pictures."""

import numpy as np
import pytest

from wsss_seed.io.font import font_for
from wsss_seed.io.legend import class_legend, printable, without_beginning, without_end

FONT = font_for("", 13)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_swatches_with_names_in_as_many_lines_as_they_need():
    one = class_legend([(RED, "cat"), (BLUE, "dog")], 400, FONT)
    two = class_legend([(RED, "cat" * 20), (BLUE, "dog" * 20)], 400, FONT)
    assert (one.width, two.width) == (400, 400)
    assert two.height - one.height == 22
    for picture in (one, two):
        colours = {colour: number for number, colour in picture.getcolors(2**16)}
        assert colours[RED] == colours[BLUE] == 11 * 11
    assert (np.asarray(one)[:, 60:] != 255).any()
    assert class_legend([], 400, FONT).size == (400, 0)


@pytest.mark.parametrize("shorten", [without_beginning, without_end])
def test_names_that_are_too_long(shorten):
    assert shorten("a/b", FONT, 100) == "a/b"
    short = shorten("0123456789" * 9, FONT, 100)
    assert 80 < FONT.getlength(short) <= 100
    assert short.startswith("…") == (shorten is without_beginning)
    assert short.endswith("…") == (shorten is without_end)
    assert len(shorten("abc", FONT, 0)) == 1


def test_control_characters_are_not_drawn():
    assert printable("a\nb\x1b") == "a?b?"
