"""Boxes drawn on an image."""

import numpy as np
import pytest

from wsss_seed.io.boxes import DrawnBox, draw_boxes

GREY = np.full((100, 200, 3), 128, np.uint8)
RED = (255, 0, 0)


def red(picture, rows, columns):
    pixels = np.asarray(picture)[rows, columns]
    return (pixels == RED).all(-1)


def test_the_styles_differ():
    shares = []
    for style in ("solid", "dashed", "dotted"):
        picture = draw_boxes(GREY, [DrawnBox((20, 20, 180, 80), "", RED, style)])
        assert picture.size == (1000, 500)
        assert not red(picture, slice(150, 350), slice(200, 800)).any()
        shares.append(red(picture, 400, slice(110, 890)).mean())
    assert shares[0] == 1
    assert 0.5 < shares[1] < 0.9
    assert 0.2 < shares[2] < shares[1]


def test_labels_do_not_cover_each_other():
    boxes = [DrawnBox((20, 20, 180, 80), "x" * 9, (250, 250 - i, 0), "solid") for i in range(3)]
    pixels = np.asarray(draw_boxes(GREY, boxes))
    filled = [(pixels == b.colour).all(-1).sum() for b in boxes[1:]]
    assert min(filled) > 1000  # the outlines are the same, so what shows of these is their labels


@pytest.mark.parametrize("shape", [(4, 4), (3000, 500)])
def test_the_size_of_the_picture(shape):
    picture = draw_boxes(np.zeros((*shape, 3), np.uint8), [], [("dashed", "ignored")])
    assert 1000 <= max(picture.size[0], picture.size[1] - 26) <= 2000


def test_a_box_beyond_the_image_is_clipped():
    picture = draw_boxes(GREY, [DrawnBox((-1e30, -5, 1e30, 1e30), "all", RED, "dotted")])
    assert picture.size == (1000, 500)
    assert red(picture, slice(480, 500), slice(0, 1000)).any()
