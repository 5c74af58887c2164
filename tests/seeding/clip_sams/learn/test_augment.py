"""Augmentation of an image and its seed: they are cut together, and colours change within the published ranges."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.seeding.clip_sams.learn.painted import COLOURS, dice, paint
from wsss_seed.seeding.clip_sams.learn.augment import _jitter, _saturate, augment, target_size
from wsss_seed.seeding.clip_sams.learn.settings import PromptAugmentSettings


def test_image_and_seed_are_cut_together():
    quiet = PromptAugmentSettings((48, 80), 32, color_jitter_prob=0.0)
    for i in range(20):
        labels, image = paint(i)
        pixels, seed = augment(image, labels, quiet, dice(i))
        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == seed.dtype == torch.uint8
        assert set(np.unique(seed)) <= set(np.unique(labels))
        nearest = np.linalg.norm(pixels.permute(1, 2, 0).numpy()[:, :, None].astype(float) - COLOURS, axis=3).argmin(2)
        assert (nearest == seed.numpy()).mean() > 0.9  # outlines are bicubic in one and nearest in the other


def test_the_same_dice_make_the_same_crop_and_others_another():
    labels, image = paint(1)
    crops = [augment(image, labels, PromptAugmentSettings((48, 80), 32), dice(n)) for n in (3, 3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(crops[0], crops[1], strict=True))
    assert not torch.equal(crops[0][0], crops[2][0])


def test_mirrored_about_half_of_the_time():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :8] = 255
    still = PromptAugmentSettings((32, 32), 32, color_jitter_prob=0.0)
    left = [bool(augment(image, None, still, dice(n))[0][0, 0, 0] > 128) for n in range(60)]
    assert 15 < sum(left) < 45
    assert all(augment(image, None, replace(still, flip_prob=0.0), dice(n))[0][0, 0, 0] > 128 for n in range(10))


def test_long_side_range_and_crop_floor():
    """Long side 288..480, both included, unless the short side would become shorter than 224."""
    voc = PromptAugmentSettings()
    longs = {max(target_size((300, 400), voc, dice(n))) for n in range(3000)}
    assert min(longs) == round(400 * 224 / 300)  # 299: the floor
    assert max(longs) == 480
    assert {max(target_size((400, 400), voc, dice(n))) for n in range(3000)} == set(range(288, 481))
    height, width = target_size((100, 1000), voc, dice())
    assert (height, width) == (224, 2240)


def test_jitter_ranges():
    """+-25; x 0.6..1.4; saturation x 0.5..1.5; hue +-25 of 255; each with probability 0.5."""
    image = np.full((2, 2, 3), 100, np.uint8)
    image[..., 0] = 140
    found = np.array([_jitter(image, 1.0, dice(n))[0, 0] for n in range(400)], float)
    value = found.max(1)
    assert 140 * 0.6 - 27 <= value.min() < 100
    assert 190 < value.max() <= 165 * 1.4 + 1
    unchanged = np.mean([(_jitter(image, 0.5, dice(n)) == image).all() for n in range(400)])
    assert 0.02 < unchanged < 0.13  # 1 / 16
    assert all((_jitter(image, 0.0, dice(n)) == image).all() for n in range(5))
    assert {tuple(x) for x in found.argmax(1)[:, None]} == {(0,)}  # a hue of 0 +-35 degrees stays reddest


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5])
def test_saturation_is_that_of_hsv(factor):
    pixels = torch.from_numpy(dice().integers(0, 256, (3, 8, 8), np.uint8))
    pixels[:, 0, 0] = 0
    out = _saturate(pixels, factor).flatten(1).T
    for before, after in zip(pixels.flatten(1).T, out, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before.numpy() / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(h, min(1, s * factor), v))
        assert np.abs(after.numpy() - expected).max() <= 0.51
