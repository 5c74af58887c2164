"""Sharpening by mask proposals, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as rle

from wsss_seed.segmenter.sharpen import sharpen


def columns(start, stop, width=8, height=2):
    mask = np.zeros((height, width), bool)
    mask[:, start:stop] = True
    return mask


def rows(*values, height=2):
    return np.tile(np.array(values, np.float32), (height, 1))


BACKGROUND = rows(0.8, 0.8, 0.6, 0.4, 0.1, 0.1, 0.3, 0.9)
CAT = rows(0.1, 0.1, 0.3, 0.5, 0.8, 0.7, 0.3, 0.1)
DOG = rows(0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.4, 0.0)
UNDER = (np.array([[0, 0, 0, 3, 3, 3, 7, 0]] * 2, np.uint8), np.full((2, 8), 0.25, np.float32))


def sharpened(masks, levels, alpha=1.0):
    return sharpen([BACKGROUND, CAT, DOG], [2, 6], masks, levels, alpha, UNDER)


def test_the_mean_probability_decides_without_normalisation():
    """Means in columns 2..6: background 0.34, cat 0.52, dog 0.18."""
    labels, confidence = sharpened([columns(2, 7)], [2])
    assert labels[0].tolist() == [0, 0, 3, 3, 3, 3, 3, 0]
    assert np.allclose(confidence[0], [0.25, 0.25, *[0.52] * 5, 0.25])
    assert (labels.dtype, confidence.dtype) == (np.uint8, np.float32)


@pytest.mark.parametrize(("alpha", "label", "best"), [(1, 0, 0.5), (2, 3, 0.4), (4, 3, 0.4)])
def test_background_is_raised_to_alpha(alpha, label, best):
    """Means in columns 2 and 3: background 0.5, cat 0.4; squared, background has 0.25."""
    labels, confidence = sharpened([columns(2, 4)], [2], alpha)
    assert labels[0, 2:4].tolist() == [label, label]
    assert np.allclose(confidence[0, 2:4], best)


def test_the_mean_is_raised_not_its_parts():
    """0.9 and 0.1: the mean's square is 0.25, the squares' mean 0.41; cat has 0.3."""
    labels, _ = sharpen(
        [rows(0.9, 0.1), rows(0.1, 0.5)], [0], [columns(0, 2, 2)], [0], 2.0, (np.zeros((2, 2), np.uint8), rows(0, 0))
    )
    assert (labels == 1).all()


def test_background_wins_a_tie_and_the_earlier_class_the_next():
    half = rows(*[0.5] * 8)
    for maps, expected in (([half, half, half], 0), ([half * 0, half, half], 3)):
        labels, _ = sharpen(maps, [2, 6], [columns(0, 8)], [1], 1.0, UNDER)
        assert (labels == expected).all()


def test_painting_order():
    """Wholes over parts; inside a level the more confident over the less; background paints too."""
    labels, _ = sharpened([columns(3, 6), columns(0, 8)], [1, 2])
    assert (labels == 0).all()  # the whole image is background and hides the part
    labels, _ = sharpened([columns(3, 6), columns(0, 8)], [1, 1])
    assert labels[0].tolist() == [0, 0, 0, 3, 3, 3, 0, 0]
    labels, _ = sharpened([columns(6, 7), columns(5, 7)], [2, 2])
    assert labels[0, 5:7].tolist() == [3, 3]  # dog with 0.4 alone, cat with 0.5 in both


def test_where_no_mask_is_the_prediction_stays():
    labels, confidence = sharpened([columns(0, 3)], [2])
    assert labels[0].tolist() == [0, 0, 0, 3, 3, 3, 7, 0]
    assert (confidence[:, 3:] == 0.25).all()
    assert UNDER[0][0].tolist() == [0, 0, 0, 3, 3, 3, 7, 0]  # what was given is as it was


def test_without_masks_or_classes_it_is_the_prediction():
    empty = np.zeros((2, 8), bool)
    for maps, classes, masks in (
        ([BACKGROUND, CAT], [2], []),
        ([BACKGROUND, CAT], [2], [empty]),
        ([BACKGROUND], [], [columns(0, 8)]),
    ):
        labels, confidence = sharpen(maps, classes, masks, [2] * len(masks), 4.0, UNDER)
        assert np.array_equal(labels, UNDER[0])
        assert np.array_equal(confidence, UNDER[1])


def test_masks_in_rle_and_empty_ones_between():
    masks = [columns(2, 7), np.zeros((2, 8), bool), columns(6, 7)]
    packed = [rle.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    expected = sharpened([masks[0], masks[2]], [1, 2])
    for got, want in zip(sharpened(packed, [1, 0, 2]), expected, strict=True):
        assert np.array_equal(got, want)
