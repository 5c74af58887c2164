"""Label maps drawn over images."""

import numpy as np
from PIL import Image

from wsss_seed.data.classes import voc_palette
from wsss_seed.io.overlay import draw_outlines, overlay


def test_classes_are_mixed_with_the_image_and_background_is_not():
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    drawn = np.asarray(overlay(image, labels, voc_palette(), opacity=0.25))
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 1].tolist() == [107, 75, 75]  # a quarter of (128, 0, 0)
    assert drawn[1, 0].tolist() == [75, 107, 75]
    assert drawn[1, 1].tolist() == [139, 139, 139]  # a quarter of white


def test_opacity_from_nothing_to_everything():
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 3, (9, 7), np.uint8)
    palette = np.array(voc_palette(), np.uint8)
    assert (np.asarray(overlay(image, labels, voc_palette(), 0)) == image).all()
    full = np.asarray(overlay(image, labels, voc_palette(), 1))
    assert (full[labels > 0] == palette[labels][labels > 0]).all()
    assert (full[labels == 0] == image[labels == 0]).all()


def test_outlines_lie_between_the_labels():
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:40], labels[10:30, 40:50] = 1, 255
    picture = Image.new("RGB", (60, 40), (9, 9, 9))
    draw_outlines(picture, labels)
    pixels = np.asarray(picture)
    assert (pixels[20, [20, 40, 50]] == 255).all()
    assert (pixels[[10, 30], 30] == 255).all()
    assert (pixels[20, [18, 22, 38, 42]] == 0).all()
    assert (pixels[20, [10, 30, 45, 55]] == 9).all()
    plain = Image.new("RGB", (60, 40), (9, 9, 9))
    draw_outlines(plain, np.full((40, 60), 7, np.uint8))
    assert (np.asarray(plain) == 9).all()
