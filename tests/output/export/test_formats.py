"""The reverse check: each format read by its own library, or as it defines, gives the label maps back."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, label_maps, write_run
from wsss_seed.data import open_dataset
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.images import read_rgb
from wsss_seed.data.voc import Voc
from wsss_seed.output.export import export
from wsss_seed.output.export.coco import category_ids
from wsss_seed.output.export.parts import flat_names
from wsss_seed.output.export.yolo import label_file, polygons

MAPS = label_maps()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    return write_run(folder / "run", folder / "photos")


def image_of(run: Path, name: str) -> np.ndarray:
    return read_rgb(run / "JPEGImages" / f"{name}.jpg")


@pytest.fixture(scope="module")
def coco(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("coco") / "out"
    export("coco", run, out)
    return out


def test_coco_stuff_read_by_pycocotools_is_the_label_map(run, coco, capsys):
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


def test_coco_instances_are_connected_regions_without_background(coco, capsys):
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


def test_coco_instances_read_by_wsss_seed_again(coco):
    data = open_dataset("coco", coco, classes=None)
    assert data.class_set.names == NAMES
    assert [s.id for s in data] == list(MAPS)
    for sample in data:
        expected = MAPS[sample.id]
        np.testing.assert_array_equal(data.mask(sample), np.where(expected == 255, 0, expected))


def test_coco_classes_have_the_ids_that_coco_gave_them():
    ids = category_ids(("background", *load_class_set("coco").names))
    assert (ids[0], ids[1], ids[12], ids[80]) == (0, 1, 13, 90)


def test_hf_image_folder_read_by_datasets(run, tmp_path):
    import datasets

    export("hf", run, tmp_path / "out", validation=Voc(run, CLASSES))
    found = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "validation"}
    for split in found.values():
        assert list(split["id"]) == list(MAPS)
        for row in split:
            np.testing.assert_array_equal(np.asarray(row["label"]), MAPS[row["id"]])
            np.testing.assert_array_equal(np.asarray(row["image"].convert("RGB")), image_of(run, row["id"]))
    labels = json.loads((tmp_path / "out" / "id2label.json").read_text())
    assert labels == {str(i): name for i, name in enumerate(("background", *NAMES))}


def filled(text: str, shape: tuple[int, int]) -> np.ndarray:
    """What the lines of a YOLO label file paint: polygons, scaled, cut to whole pixels and filled with their outline.

    This is how readers of the format make their masks; the usual one, ultralytics, is not among this project's
    dependencies.
    """
    import cv2

    labels = np.zeros(shape, np.uint8)
    for line in text.splitlines():
        number, *values = line.split()
        assert len(values) >= 6
        assert len(values) % 2 == 0
        assert all(0 <= float(v) <= 1 for v in values)
        points = (np.array(values, np.float32).reshape(-1, 2) * (shape[1], shape[0])).astype(np.int32)
        mask = cv2.fillPoly(np.zeros(shape, np.uint8), [points], 1)
        labels[mask.astype(bool)] = int(number) + 1
    return labels


def test_yolo_polygons_filled_as_the_format_says(run, tmp_path):
    out = tmp_path / "out"
    export("yolo", run, out)
    data = yaml.safe_load((out / "data.yaml").read_text("utf-8"))
    assert data == {"train": "images/train", "val": "images/train", "names": dict(enumerate(NAMES))}
    images = {p.stem: p for p in (out / data["train"]).iterdir()}
    names = flat_names(MAPS)
    assert images.keys() == set(names.values())
    for name, expected in MAPS.items():
        np.testing.assert_array_equal(read_rgb(images[names[name]]), image_of(run, name))
        text = (out / "labels" / "train" / f"{names[name]}.txt").read_text()
        found = filled(text, expected.shape)
        for label in range(1, 5):
            ours, theirs = found == label, expected == label
            if theirs.any():
                assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97, (name, label)
            else:
                assert not ours.any()


def test_yolo_polygons_of_separate_regions_are_exact():
    for name in ("ring", "specks", "images/test/x__y", "touching"):
        expected = np.where(MAPS[name] == 255, 0, MAPS[name])
        np.testing.assert_array_equal(filled(label_file(MAPS[name]), expected.shape), expected, name)


def test_yolo_holes_stay_open_and_pieces_are_lines():
    text = label_file(MAPS["ring"])
    assert len(text.splitlines()) == 1
    assert filled(text, (40, 60))[15, 20] == 0
    assert len(label_file(MAPS["specks"]).splitlines()) == 4
    assert label_file(MAPS["void"]) == label_file(MAPS["empty"]) == ""


def test_yolo_outlines_have_corners_only():
    square = np.zeros((20, 20), bool)
    square[2:12, 3:18] = True
    (polygon,) = polygons(square)
    assert sorted(map(tuple, polygon)) == [(3, 2), (3, 11), (17, 2), (17, 11)]


def test_yolo_polygons_of_photographs_masks(real_data):
    """Real outlines: everyday label maps come back with hardly a pixel lost."""
    masks = sorted((real_data / "voc").rglob("SegmentationClass/*.png"))
    if not masks:
        pytest.skip(f"no VOC label maps below {real_data}")
    for path in masks[:20]:
        expected = np.array(Image.open(path))
        expected[expected == 255] = 0
        found = filled(label_file(expected), expected.shape)
        hits = ((found == expected) & (expected > 0)).sum()
        assert hits / ((found > 0) | (expected > 0)).sum() > 0.995, path.name
