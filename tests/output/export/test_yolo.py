"""Polygons of YOLO, filled as the format defines them, give the label maps back."""

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.output.odd_run import NAMES, image_of, label_maps
from wsss_seed.data.images import read_rgb
from wsss_seed.output.export import export
from wsss_seed.output.export.parts import flat_names
from wsss_seed.output.export.yolo import label_file, polygons

MAPS = label_maps()


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


def test_polygons_filled_as_the_format_says(run, tmp_path):
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


def test_polygons_of_separate_regions_are_exact():
    for name in ("ring", "specks", "images/test/x__y", "touching"):
        expected = np.where(MAPS[name] == 255, 0, MAPS[name])
        np.testing.assert_array_equal(filled(label_file(MAPS[name]), expected.shape), expected, name)


def test_holes_stay_open_and_pieces_are_lines():
    text = label_file(MAPS["ring"])
    assert len(text.splitlines()) == 1
    assert filled(text, (40, 60))[15, 20] == 0
    assert len(label_file(MAPS["specks"]).splitlines()) == 4
    assert label_file(MAPS["void"]) == label_file(MAPS["empty"]) == ""


def test_outlines_have_corners_only():
    square = np.zeros((20, 20), bool)
    square[2:12, 3:18] = True
    (polygon,) = polygons(square)
    assert sorted(map(tuple, polygon)) == [(3, 2), (3, 11), (17, 2), (17, 11)]


def test_polygons_of_photographs_masks(real_data):
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
