"""Images of any shape through image processors of transformers."""

import numpy as np
import pytest
from transformers import CLIPImageProcessorPil

from wsss_seed.models.hf_preprocess import preprocess


@pytest.fixture(scope="module")
def processor():
    """Neither resizes nor crops, so that sizes and pixels show."""
    return CLIPImageProcessorPil(do_resize=False, do_center_crop=False, do_normalize=False, do_rescale=False)


@pytest.mark.parametrize("size", [(1, 5), (3, 7), (5, 3), (3, 3), (1, 1)])
def test_one_or_three_rows_are_no_channels(processor, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    pixels = preprocess(processor, image)["pixel_values"]
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), image)


@pytest.mark.parametrize(
    ("size", "limit", "want"),
    [
        ((2, 100), 10, (10, 100)),
        ((100, 2), 10, (100, 10)),
        ((1, 101), 10, (11, 101)),  # rounded up, so that the limit holds
        ((10, 100), 10, (10, 100)),
        ((1, 1), 1, (1, 1)),
        ((2, 100), None, (2, 100)),
    ],
)
def test_thin_strips_are_widened_to_the_limit_and_no_further(processor, size, limit, want):
    shape = preprocess(processor, np.full((*size, 3), 90, np.uint8), limit)["pixel_values"].shape
    assert tuple(shape) == (1, 3, *want)


def test_widening_keeps_the_image(processor):
    image = np.zeros((2, 100, 3), np.uint8)
    image[:, 50:] = 200
    pixels = preprocess(processor, image, 10)["pixel_values"][0].numpy()
    assert (pixels[:, :, :49] == 0).all()
    assert (pixels[:, :, 51:] == 200).all()
