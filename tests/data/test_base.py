"""Samples and datasets: what a subclass has without methods of its own, and the check of label maps."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.base import Dataset, Sample, check_values
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import ImageError


class Files(Dataset):
    """Files on disk, read by the methods of the base class alone."""

    name, split, class_set = "files", "all", load_class_set("cat, dog")

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.array([[0, 1, 2, 255], [0, 0, 0, 0]], np.uint8)).save(tmp_path / "mask.png")
    return Sample("a", tmp_path / "a.png", (1,), tmp_path / "mask.png")


def test_files_are_read_as_stored_and_shown_upright(sample):
    data = Files(sample)
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(data.image(sample), stored)
    assert data.orientation(sample) == 6
    np.testing.assert_array_equal(data.upright(sample), np.rot90(stored, -1))
    np.testing.assert_array_equal(data.mask(sample), [[0, 1, 2, 255], [0, 0, 0, 0]])
    assert data.check_mask(sample) == (2, 4)
    assert data.boxes(sample) is None


def test_a_sequence_that_can_be_read_again(sample):
    data = Files(sample, Sample("b"))
    assert (len(data), data[1].id, [s.id for s in data], [s.id for s in data]) == (2, "b", ["a", "b"], ["a", "b"])
    with pytest.raises(FrozenInstanceError):
        sample.id = "c"


def test_labels_and_masks_that_are_missing_are_counted(sample):
    bare = Sample("b")
    data = Files(sample, bare)
    assert (data.unlabelled, data.has_masks) == (2, False)  # no source, so the labels of `sample` are not its own
    data.labels_source = "labels.txt"
    assert data.unlabelled == 1
    assert Files(sample).has_masks
    assert data.mask(bare) is data.check_mask(bare) is None
    assert data.orientation(bare) == 1


@pytest.mark.parametrize(
    ("values", "shown"),
    [([3], "3"), ([3, 254], "3, 254"), ([3, 4, 5, 6, 7, 8], "3, 4, 5, 6, 7, ...")],
)
def test_label_values_beyond_the_classes_are_listed(values, shown):
    labels = np.array([[0, 1, 2, 255, *values]], np.uint8)
    with pytest.raises(ImageError, match=rf"^x\.png: label values {shown} are outside 0\.\.2 and 255"):
        check_values(labels, 2, "x.png")


def test_label_values_within_the_classes_pass():
    check_values(np.array([[0, 1, 2, 255]], np.uint8), 2, "x.png")
    check_values(np.zeros((0, 0), np.uint8), 2, "x.png")
    check_values(np.arange(256, dtype=np.uint8)[None], 254, "x.png")


def test_a_mask_with_other_labels_is_an_error_of_its_file(sample):
    data = Files(sample)
    data.class_set = load_class_set("cat,")
    with pytest.raises(ImageError, match=r"mask\.png: label values 2 are outside 0\.\.1 and 255"):
        data.check_mask(sample)
