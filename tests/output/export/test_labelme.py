"""Polygons of labelme: what they lose, and that labelme in an environment of its own paints them as we do."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.output.editors import environment, in_use, outside
from tests.output.odd_run import NAMES, label_maps
from wsss_seed.output.export import export
from wsss_seed.output.export.labelme import labelme_labels, painted, polygons
from wsss_seed.output.export.tags import find_tag, image_digest
from wsss_seed.output.finished import open_run
from wsss_seed.output.imports import import_masks


def noise() -> list[np.ndarray]:
    dice = np.random.default_rng(0)
    return [dice.integers(0, classes, (17, 23)).astype(np.uint8) for classes in (2, 3, 5) for _ in range(4)]


@pytest.mark.parametrize("labels", [*label_maps().values(), *noise()], ids=lambda labels: f"{labels.shape}")
def test_polygons_of_all_corners_are_exact(labels):
    """Holes, holes in holes, specks, regions that touch at corners: painted in order, nothing is lost."""
    np.testing.assert_array_equal(painted(polygons(labels, 0), labels.shape), labels)


def test_simple_polygons_are_a_pixel_off_at_most():
    grid = np.mgrid[:200, :300]
    distance = np.hypot(grid[0] - 100, grid[1] - 150)
    disc = (distance < 80).astype(np.uint8)
    ((_, outline),) = polygons(disc)
    assert len(outline) < 60 < len(polygons(disc, 0)[0][1])
    wrong = painted(polygons(disc), disc.shape) != disc
    assert 0 < wrong.mean() < 0.01
    assert np.abs(distance - 80)[wrong].max() < 2


def test_files_are_those_of_labelme(run, tmp_path):
    result = export("labelme", run, tmp_path / "out")
    assert result.remark.startswith("polygons differ from the masks in 0.78 % of the pixels")
    assert result.to_json()["remark"] == result.remark
    files = sorted((tmp_path / "out" / "images").glob("*.json"))
    assert len(files) == len(label_maps())
    labels = labelme_labels(("background", *NAMES))
    assert (tmp_path / "out" / "labels.txt").read_text("utf-8").splitlines() == ["__ignore__", "_background_", *NAMES]
    for file in files:
        table = json.loads(file.read_text("utf-8"))
        assert (file.parent / table["imagePath"]).is_file()
        assert table["imageData"] is None
        for shape in table["shapes"]:
            assert shape["label"] in labels
            assert shape["shape_type"] == "polygon"
            assert len(shape["points"]) >= 3


def test_a_class_may_have_the_name_of_ignored_pixels():
    labels = labelme_labels(("background", "__ignore__", "cat"))
    assert labels == {"__ignore__ (255)": 255, "_background_": 0, "__ignore__": 1, "cat": 2}


@pytest.mark.slow
def test_labelme_paints_equal_pixels_and_what_it_writes_comes_back(run, tmp_path):
    python = environment("labelme")
    export("labelme", run, tmp_path / "out")
    (tmp_path / "edited").mkdir()
    script = Path(__file__).parent / "labelme_reads.py"
    found = outside(python, script, tmp_path / "out", tmp_path / "edited", cwd=tmp_path)
    opened = open_run(run)
    ids = {image_digest(opened.about, opened.names, id): id for id in label_maps()}
    for name, rows in found["before"].items():
        labels = label_maps()[ids[find_tag(name).image]]
        theirs = np.array(rows).astype(np.uint8)  # -1, __ignore__, becomes 255
        np.testing.assert_array_equal(theirs, painted(polygons(labels), labels.shape))
    result = import_masks("labelme", run, tmp_path / "edited")
    assert (result.changed, result.unchanged) == (("ring",), len(label_maps()) - 1)
    (name,) = (name for name in found["after"] if name.startswith("ring-"))
    before, after = (np.array(found[key][name]).astype(np.uint8) for key in ("before", "after"))
    np.testing.assert_array_equal(in_use(run, "ring"), np.where(before == after, label_maps()["ring"], after))
    assert set(np.unique(after)) == {0, 1, 255}
