"""Index PNGs come back as they were written."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.classes import voc_palette
from wsss_seed.data.images import read_labels
from wsss_seed.io.png import write_confidence, write_grey, write_mask, write_rgb


def chunks(path):
    data = path.read_bytes()[8:]
    while data:
        (length,) = struct.unpack(">I", data[:4])
        yield data[4:8], data[8 : 8 + length]
        data = data[12 + length :]


@pytest.mark.parametrize(
    "values",
    [[0], [255], [0, 1], [0, 255], [0, 1, 2, 255], [0, 15, 255], [*range(21), 255], list(range(256))],
    ids=lambda values: f"{len(values)} values to {values[-1]}",
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (37, 53)])
def test_labels_come_back(tmp_path, values, shape):
    """Whatever values occur: with few of them, PNG writers pack bits and shorten palettes, and 255 returns as 15."""
    labels = np.random.default_rng(0).choice(np.array(values, np.uint8), shape)
    write_mask(tmp_path / "a.png", labels, voc_palette())
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        assert image.size == (shape[1], shape[0])
        assert image.getpalette("RGB") == [value for colour in voc_palette() for value in colour]
        np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)
    parts = dict(chunks(tmp_path / "a.png"))
    assert len(parts[b"PLTE"]) == 3 * 256
    assert parts[b"IHDR"][8:10] == b"\x08\x03"  # 8 bits, indexed


def test_colours_are_the_palette_s(tmp_path):
    labels = np.array([[0, 1, 20, 255]], np.uint8)
    write_mask(tmp_path / "a.png", labels, voc_palette())
    colours = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))[0].tolist()
    assert colours == [[0, 0, 0], [128, 0, 0], [0, 64, 128], [224, 224, 192]]


def test_same_bytes_and_their_digest(tmp_path):
    labels = np.random.default_rng(1).integers(0, 21, (64, 48), dtype=np.uint8)
    digests = {write_mask(tmp_path / f"{i}.png", labels, voc_palette()) for i in range(3)}
    assert digests == {hashlib.sha256((tmp_path / f"{i}.png").read_bytes()).hexdigest() for i in range(3)}
    assert len(digests) == 1


def test_arrays_of_any_layout(tmp_path):
    labels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    for view in (labels.T, labels[::2, ::-3]):
        write_mask(tmp_path / "a.png", view, voc_palette())
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), view)


def test_what_is_no_label_map_is_refused(tmp_path):
    for wrong in (np.zeros((4, 4), np.int64), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="label map"):
            write_mask(tmp_path / "a.png", wrong, voc_palette())
    with pytest.raises(ValueError, match="256 colours"):
        write_mask(tmp_path / "a.png", np.zeros((4, 4), np.uint8), voc_palette()[:21])
    assert not list(tmp_path.iterdir())


def test_confidence_and_image(tmp_path):
    confidence = np.linspace(-0.1, 1.1, 60, dtype=np.float32).reshape(6, 10)
    write_confidence(tmp_path / "c.png", confidence)
    with Image.open(tmp_path / "c.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), np.rint(confidence.clip(0, 1) * 255))
    pixels = np.random.default_rng(2).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_rgb(tmp_path / "image.jpg", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "image.jpg")), pixels)


def test_grey_values_are_stored_as_they_are(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_grey(tmp_path / "g.png", values)
    with Image.open(tmp_path / "g.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), values)
