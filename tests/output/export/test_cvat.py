"""CVAT's formats, read as they are defined, and by datumaro, the library of CVAT's formats, in its own environment."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.editors import environment, outside
from tests.output.odd_run import NAMES, label_maps
from wsss_seed.data.classes import voc_palette
from wsss_seed.data.rle import checked_shape, rasterised
from wsss_seed.output.export import export
from wsss_seed.output.export.cvat import cvat_labels, object_map
from wsss_seed.output.export.tags import find_tag, image_digest
from wsss_seed.output.finished import open_run
from wsss_seed.output.imports import import_masks


def ids_by_digest(run: Path) -> dict[str, str]:
    found = open_run(run)
    return {image_digest(found.about, found.names, id): id for id in label_maps()}


def test_both_formats_hold_the_label_maps(run, tmp_path):
    """Plain readers: colours by labelmap.txt, objects by VOC's palette, and COCO's run lengths."""
    export("cvat", run, tmp_path / "out")
    labels, ids = cvat_labels(("background", *NAMES)), ids_by_digest(run)
    with zipfile.ZipFile(tmp_path / "out" / "segmentation_mask.zip") as archive:
        archive.extractall(tmp_path / "voc")
    colours = {}
    for line in (tmp_path / "voc" / "labelmap.txt").read_text("utf-8").splitlines()[1:]:
        name, colour, parts, actions = line.split(":")
        assert (parts, actions) == ("", "")
        colours[tuple(map(int, colour.split(",")))] = labels[name]
    assert len(colours) == len(labels)
    listed = (tmp_path / "voc" / "ImageSets" / "Segmentation" / "default.txt").read_text().split()
    assert [ids[find_tag(name).image] for name in listed] == list(label_maps())
    images = {path.stem for path in (tmp_path / "out" / "images").iterdir()}
    assert images == set(listed)
    table = json.loads((tmp_path / "out" / "coco.json").read_text())
    categories = {c["id"]: labels[c["name"]] for c in table["categories"]}
    for number, name in enumerate(listed, 1):
        expected = label_maps()[ids[find_tag(name).image]]
        with Image.open(tmp_path / "voc" / "SegmentationClass" / f"{name}.png") as image:
            pixels = np.array(image.convert("RGB"))
        found = np.array([colours[tuple(p)] for p in pixels.reshape(-1, 3).tolist()]).reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)
        with Image.open(tmp_path / "voc" / "SegmentationObject" / f"{name}.png") as image:
            objects = np.array(image)
            assert image.getpalette() == [value for colour in voc_palette() for value in colour]
        for value in np.unique(objects):
            assert len(np.unique(expected[objects == value])) == 1
        painted = np.zeros_like(expected)
        for annotation in table["annotations"]:
            if annotation["image_id"] == number:
                mask = rasterised(checked_shape(annotation["segmentation"], *expected.shape), *expected.shape)
                assert not painted[mask].any()
                painted[mask] = categories[annotation["category_id"]]
        np.testing.assert_array_equal(painted, expected)
    shown = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [labels[label["name"]] for label in shown] == [1, 2, 3, 4, 255]


def test_labels_hold_nothing_that_a_label_map_cannot():
    names = ("background", "a:b", "a_b", "#c", "_c", " d")
    labels = cvat_labels(names)
    assert [*labels.values()] == [0, 1, 2, 3, 4, 5, 255]
    assert not any(":" in name or name.startswith("#") or name != name.strip() for name in labels)


def test_objects_are_regions_and_at_most_255():
    labels = label_maps()["touching"]
    objects = object_map(labels)
    assert sorted(np.unique(objects)) == [1, 2, 255]
    specks = np.zeros((60, 60), np.uint8)
    specks[::2, ::2] = 1
    specks[1::4, 1::4] = 2
    specks[40:, 40:] = 3
    specks[0, 59] = 255
    found = object_map(specks)
    assert found.max() == 255
    assert ((found == 0) == (specks == 0)).all()
    for value in np.unique(found):
        assert len(np.unique(specks[found == value])) == 1
    assert (found[40:, 40:] == found[50, 50]).all()
    assert not object_map(np.zeros((3, 4), np.uint8)).any()


@pytest.mark.slow
def test_datumaro_reads_equal_pixels_and_what_it_writes_comes_back(run, tmp_path):
    python = environment("datumaro")
    export("cvat", run, tmp_path / "out")
    script = Path(__file__).parent / "cvat_reads.py"
    found = outside(python, script, tmp_path / "out", tmp_path, cwd=tmp_path)
    labels, ids = cvat_labels(("background", *NAMES)), ids_by_digest(run)
    for kind in ("voc", "coco"):
        assert len(found[kind]) == len(label_maps())
        for name, rows in found[kind].items():
            expected = label_maps()[ids[find_tag(name).image]]
            np.testing.assert_array_equal(np.vectorize(labels.get)(np.array(rows, object)), expected)
    for folder in ("out of voc", "out of coco"):
        result = import_masks("cvat", run, tmp_path / folder)
        assert (result.changed, result.skipped) == ((), ())
        assert result.unchanged == len(label_maps()) - 1
        assert result.without == 1  # the image without objects
