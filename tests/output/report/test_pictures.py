"""Pictures inside the page."""

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from wsss_seed.output.report.pictures import LARGE, MEDIUM, enlarged, enlarged_side, index_png, photograph


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_an_enlarged_view_has_the_labels_themselves():
    labels = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    found = enlarged(np.zeros((40, 60, 3), np.uint8), {"mask": labels, "truth": labels[::-1]}, 1024)
    assert found.maps["size"] == (60, 40)
    assert opened(found.photo.uri).size == (60, 40)
    for name, expected in (("mask", labels), ("truth", labels[::-1])):
        values = np.frombuffer(zlib.decompress(base64.b64decode(found.maps[name])), np.uint8)
        np.testing.assert_array_equal(values.reshape(40, 60), expected)


def test_large_images_are_reduced_without_new_labels():
    labels = np.kron(np.array([[0, 7], [255, 3]], np.uint8), np.ones((300, 500), np.uint8))
    found = enlarged(np.full((600, 1000, 3), (200, 30, 30), np.uint8), {"mask": labels}, 512)
    assert "truth" not in found.maps
    assert found.maps["size"] == opened(found.photo.uri).size == (512, 307)
    values = np.frombuffer(zlib.decompress(base64.b64decode(found.maps["mask"])), np.uint8).reshape(307, 512)
    assert set(values.ravel()) == {0, 3, 7, 255}
    assert (values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]) == (0, 7, 255, 3)
    assert np.asarray(opened(found.photo.uri))[5, 5] == pytest.approx([200, 30, 30], abs=6)


@pytest.mark.parametrize(("images", "side"), [(1, LARGE), (500, LARGE), (501, MEDIUM), (10**6, MEDIUM)])
def test_pages_of_many_images_have_smaller_ones(images, side):
    assert enlarged_side(images) == side


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (1, 1)])
def test_narrow_pictures_keep_a_pixel(shape):
    size = opened(photograph(np.zeros((*shape, 3), np.uint8)).uri).size
    assert opened(index_png(np.zeros(shape, np.uint8), [(0, 0, 0)] * 256).uri).size == size
    assert min(size) >= 1
    assert max(size) <= 176
