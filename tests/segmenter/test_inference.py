"""Windows, scales and mirror images, seen by networks whose right answer is known."""

from __future__ import annotations

import pytest
import torch

from tests.rounding import assert_same
from wsss_seed.segmenter.inference import multi_scale_inference, resize, slide_inference, window_starts


def soft(pixels: torch.Tensor) -> torch.Tensor:
    """A network that sees each pixel by itself, so that windows must not change what it says."""
    return torch.stack([pixels[0], 1 - pixels[0], pixels[1] * pixels[2]]).softmax(0)


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 4, 3, [0, 3, 6]),
        (9, 4, 3, [0, 3, 5]),
        (4, 4, 3, [0]),
        (3, 4, 3, [0]),
        (5, 4, 4, [0, 1]),
        (12, 4, 4, [0, 4, 8]),
        (1, 4, 1, [0]),
    ],
)
def test_places(length, window, stride, expected):
    assert window_starts(length, window, stride) == expected


def test_places_are_those_of_mmsegmentation():
    """Its slide_inference counts the windows first and then moves those back that would end outside."""
    for length in range(1, 60):
        for window in (1, 7, 16):
            for stride in (1, 5, 7, 16):
                count = max(length - window + stride - 1, 0) // stride + 1
                theirs = []
                for index in range(count):
                    end = min(index * stride + window, length)
                    theirs.append(max(end - window, 0))
                if stride <= window:
                    assert window_starts(length, window, stride) == theirs


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (31, 17), (16, 16), (33, 64)])
@pytest.mark.parametrize(("window", "stride"), [(64, 1), (16, 16), (16, 11), (16, 1)])
def test_windows_change_nothing_where_pixels_stand_alone(height, width, window, stride):
    pixels = image(height, width)
    assert_same(slide_inference(soft, pixels, window, stride), soft(pixels))


def test_windows_have_their_size_and_overlaps_are_means():
    sizes = []

    def counting(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(pixels.shape[1:]))
        return torch.full((2, *pixels.shape[1:]), float(len(sizes)))

    found = slide_inference(counting, image(4, 10), 6, 4)
    assert sizes == [(4, 6), (4, 6)]
    assert found[0, 0].tolist() == [1, 1, 1, 1, 1.5, 1.5, 2, 2, 2, 2]


WHOLE = {"window": 2048, "stride": 2048}


def test_mirrored_answers_are_mirrored_back():
    pixels = image(6, 9)
    assert_same(multi_scale_inference(soft, pixels, [(6, 9)], flip=True, size=(6, 9), **WHOLE), soft(pixels))

    def left(pixels: torch.Tensor) -> torch.Tensor:
        """Finds class 1 on the left edge only: mirrored, on the right."""
        found = torch.zeros(2, *pixels.shape[1:])
        found[1, :, 0] = 1
        found[0] = 1 - found[1]
        return found

    found = multi_scale_inference(left, pixels, [(6, 9)], flip=True, size=(6, 9), **WHOLE)
    assert found[1, 0].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0, 0.5]


def test_sizes_are_averaged():
    seen = []

    def counting(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pixels.shape[1:]))
        return torch.full((2, *pixels.shape[1:]), float(len(seen)))

    found = multi_scale_inference(
        counting, image(20, 31), [(10, 16), (20, 31), (35, 54)], flip=False, size=(21, 30), **WHOLE
    )
    assert seen == [(10, 16), (20, 31), (35, 54)]
    assert found.shape == (2, 21, 30)
    assert torch.allclose(found, torch.full_like(found, 2.0))


def test_probabilities_still_add_up():
    found = multi_scale_inference(
        soft, image(23, 37), [(12, 19), (23, 37), (30, 48)], flip=True, window=16, stride=9, size=(23, 37)
    )
    assert_same(found.sum(0), torch.ones(23, 37))


def test_resize_of_what_has_the_size_is_the_same():
    pixels = image(5, 7)
    assert resize(pixels, (5, 7)) is pixels
    assert resize(pixels, (10, 14)).shape == (3, 10, 14)
