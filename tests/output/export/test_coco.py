"""COCO JSON read by pycocotools, and by this package again, gives the label maps back."""

from pathlib import Path

import numpy as np
import pytest

from tests.output.odd_run import NAMES, image_of, label_maps, write_run
from wsss_seed.data import open_dataset
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.images import read_rgb
from wsss_seed.output.export import export
from wsss_seed.output.export.coco import category_ids

MAPS = label_maps()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    return write_run(folder / "run", folder / "photos")


@pytest.fixture(scope="module")
def coco(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("coco") / "out"
    export("coco", run, out)
    return out


def test_stuff_read_by_pycocotools_is_the_label_map(run, coco, capsys):
    from pycocotools.coco import COCO

    stuff = COCO(str(coco / "annotations" / "stuff_train.json"))
    assert [c["name"] for c in stuff.loadCats(stuff.getCatIds())] == ["background", *NAMES]
    found = {}
    for image in stuff.loadImgs(stuff.getImgIds()):
        labels = np.full((image["height"], image["width"]), 255, np.uint8)
        for annotation in stuff.loadAnns(stuff.getAnnIds(imgIds=image["id"])):
            mask = stuff.annToMask(annotation).astype(bool)
            assert (labels[mask] == 255).all()  # no two overlap
            assert mask.sum() == annotation["area"]
            rows, columns = np.nonzero(mask)
            corner = [columns.min(), rows.min()]
            assert annotation["bbox"] == [*corner, np.ptp(columns) + 1, np.ptp(rows) + 1]
            labels[mask] = annotation["category_id"]
        name = image["file_name"].rpartition(".")[0]
        found[name] = labels
        np.testing.assert_array_equal(read_rgb(coco / "images" / "train" / image["file_name"]), image_of(run, name))
    assert found.keys() == MAPS.keys()
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, MAPS[name], name)


def test_instances_are_connected_regions_without_background(coco, capsys):
    import cv2
    from pycocotools.coco import COCO

    instances = COCO(str(coco / "annotations" / "instances_train.json"))
    assert [c["name"] for c in instances.loadCats(instances.getCatIds())] == list(NAMES)
    for image in instances.loadImgs(instances.getImgIds()):
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in instances.loadAnns(instances.getAnnIds(imgIds=image["id"])):
            mask = instances.annToMask(annotation)
            assert cv2.connectedComponents(mask, connectivity=8)[0] == 2
            labels[mask.astype(bool)] = annotation["category_id"]
        expected = MAPS[image["file_name"].rpartition(".")[0]]
        np.testing.assert_array_equal(labels, np.where(expected == 255, 0, expected))


def test_instances_read_by_wsss_seed_again(coco):
    data = open_dataset("coco", coco, classes=None)
    assert data.class_set.names == NAMES
    assert [s.id for s in data] == list(MAPS)
    for sample in data:
        expected = MAPS[sample.id]
        np.testing.assert_array_equal(data.mask(sample), np.where(expected == 255, 0, expected))


def test_classes_have_the_ids_that_coco_gave_them():
    ids = category_ids(("background", *load_class_set("coco").names))
    assert (ids[0], ids[1], ids[12], ids[80]) == (0, 1, 13, 90)
