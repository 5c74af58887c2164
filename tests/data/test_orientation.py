"""EXIF orientations: what is stored, what is upright, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from wsss_seed.data.base import Dataset, Sample
from wsss_seed.data.images import read_orientation, read_rgb
from wsss_seed.data.orientation import check_orientation, inverse, turn, turn_boxes
from wsss_seed.errors import UsageError
from wsss_seed.types import Instance, Seed

EIGHT = range(1, 9)
ORIENTATION = 0x0112
PIXELS = np.random.RandomState(0).randint(0, 256, (4, 7, 3), np.uint8)


def store(path: Path, upright: np.ndarray, orientation: int, **options: object) -> Path:
    """Save an upright image as a camera does: pixels turned away from upright, and the orientation in EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(turn(upright, inverse(orientation))).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", EIGHT)
def test_images_are_turned_as_by_pil(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        want = np.asarray(ImageOps.exif_transpose(image))
    assert read_orientation(tmp_path / "a.png") == orientation
    upright = turn(read_rgb(tmp_path / "a.png"), orientation)
    np.testing.assert_array_equal(upright, want)
    assert upright.flags.c_contiguous
    np.testing.assert_array_equal(turn(upright, inverse(orientation)), PIXELS)
    np.testing.assert_array_equal(turn(PIXELS[:, :, 0], orientation), want[:, :, 0])
    dataset = Dataset()
    np.testing.assert_array_equal(dataset.upright(Sample("a", tmp_path / "a.png")), want)
    np.testing.assert_array_equal(dataset.image(Sample("a", tmp_path / "a.png")), PIXELS)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", EIGHT)
def test_the_orientation_is_read_from_every_format_that_has_one(tmp_path: Path, suffix: str, orientation: int):
    assert read_orientation(store(tmp_path / f"a{suffix}", PIXELS, orientation)) == orientation


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path: Path, value: int):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    assert read_orientation(tmp_path / "a.jpg") == 1


@pytest.mark.parametrize("orientation", EIGHT)
def test_boxes_and_seeds_are_turned_with_their_image(orientation: int):
    labels = np.zeros((9, 14), np.uint8)
    labels[2:5, 3:11] = 1
    window = np.ones((3, 8), bool)
    window[0, 0] = labels[2, 3] = False
    box = {"class": "red", "box": [3.25, 2.0, 11.0, 5.0]}
    seed = Seed(
        labels,
        labels / np.float32(2),
        (0,),
        evidence={"mode": "x", "detections": [box]},
        instances=(Instance(0, 0.5, (3.25, 2.0, 11.0, 5.0), (9, 14), (3, 2), window),),
        image=np.repeat(labels[:, :, None], 3, 2),
    )
    turned = seed.turned(orientation)
    np.testing.assert_array_equal(turned.labels, turn(labels, orientation))
    np.testing.assert_array_equal(turned.confidence, turned.labels / np.float32(2))
    np.testing.assert_array_equal(turned.image[:, :, 0], turned.labels)
    np.testing.assert_array_equal(turned.instances[0].mask, turned.labels == 1)
    rows, columns = np.nonzero(turned.labels)
    x0, y0, x1, y1 = turned.instances[0].xyxy
    around = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(np.subtract((x0, y0, x1, y1), around)).max() == 0.25
    assert turned.evidence["detections"][0]["box"] == [x0, y0, x1, y1]
    again = turned.turned(inverse(orientation))
    assert (again.instances[0].xyxy, again.instances[0].offset) == (seed.instances[0].xyxy, (3, 2))
    assert again.evidence == seed.evidence
    np.testing.assert_array_equal(again.labels, labels)
    assert turn_boxes(np.zeros((0, 4), np.float32), orientation, (3, 2)).shape == (0, 4)


def test_other_names_of_orientations_are_refused():
    assert [check_orientation(name) for name in ("stored", "upright")] == ["stored", "upright"]
    with pytest.raises(UsageError, match=r"unknown orientation 'uprigt'.*Did you mean 'upright'"):
        check_orientation("uprigt")
