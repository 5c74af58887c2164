"""The annotated images of a dataset, and ground truth that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wsss_seed as ws
from wsss_seed.data.classes import IGNORE, load_class_set
from wsss_seed.errors import DataError
from wsss_seed.io.png import write_mask
from wsss_seed.run.annotated import FEWEST_IMAGES, examples

CLASSES = load_class_set("toyland")


@pytest.fixture(scope="module")
def world():
    return ws.open_dataset("toyland", split="val", images=FEWEST_IMAGES)


@pytest.fixture
def photos(world, tmp_path) -> Path:
    """A folder of images, and beside it one of their ground truth."""
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for sample in world:
        Image.fromarray(world.image(sample)).save(tmp_path / "photos" / f"{sample.id}.png")
        write_mask(tmp_path / "gt" / f"{sample.id}.png", world.mask(sample), CLASSES.palette)
    return tmp_path / "photos"


def folder(photos: Path, classes: str = "toyland"):
    return ws.open_dataset("folder", photos, classes=classes)


def test_a_folder_of_ground_truth(world, photos):
    gt = photos.parent / "gt"
    images = examples(folder(photos), gt, None)
    assert [e.loaded.sample.id for e in images] == [s.id for s in world]
    for example, sample in zip(images, world, strict=True):
        assert np.array_equal(example.truth, world.mask(sample))
        assert example.classes == tuple(v - 1 for v in np.unique(world.mask(sample)).tolist() if v not in (0, IGNORE))


def test_ground_truth_that_does_not_match(world, photos):
    gt, ids = photos.parent / "gt", [sample.id for sample in world]
    data = folder(photos)
    with pytest.raises(DataError, match=r"no label map of the 20 images, such as .*\.png; check `gt`"):
        examples(data, photos.parent, None)
    write_mask(gt / f"{ids[0]}.png", np.zeros((5, 6), np.uint8), CLASSES.palette)
    with pytest.raises(DataError, match=rf"{ids[0]}\.png: the label map is 6x5, its image \d+x\d+: correct"):
        examples(data, gt, None)
    write_mask(gt / f"{ids[1]}.png", np.full_like(world.mask(world[1]), 77), CLASSES.palette)
    with pytest.raises(DataError, match="; 2 images in all: correct the ground truth"):
        examples(data, gt, None)
    (gt / f"{ids[0]}.png").unlink()
    (gt / f"{ids[2]}.png").unlink()
    with pytest.raises(DataError, match="18 images with ground truth; calibrating needs at least 20"):
        examples(data, gt, None)
    for i in (0, 1, 2):
        write_mask(gt / f"{ids[i]}.png", world.mask(world[i]), CLASSES.palette)
    with pytest.raises(DataError, match=r"label values .* are outside 0\.\.2 and 255; check the class set"):
        examples(folder(photos, "cat, dog"), gt, None)


def test_too_few_images_and_none_annotated(world, photos):
    with pytest.raises(DataError, match="5 images with ground truth; calibrating needs at least 20, better 50"):
        examples(world, None, 5)
    with pytest.raises(DataError, match="0 images with ground truth or image-level labels"):
        examples(folder(photos), None, None)
