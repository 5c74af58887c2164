"""What ``datasets check`` finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_seed.data import open_dataset
from wsss_seed.data.check import check_dataset, truth_faults


def test_a_sound_world(tmp_path: Path):
    ticks = []
    report = check_dataset(open_dataset("toyland", images=5), lambda: ticks.append(1))
    assert len(ticks) == report.images == report.masks == report.labelled == 5
    assert (report.problems, report.labels_differ, report.turned, report.ignore_share) == ([], 0, 0, 0.0)
    assert sum(report.images_per_class.values()) == sum(len(s.labels) for s in open_dataset("toyland", images=5))
    json.dumps(report.to_json(), allow_nan=False)


def test_every_fault_is_named_and_the_rest_is_still_read(tmp_path: Path):
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    maps = {
        "good": np.array([[0, 1, 255]], np.uint8),
        "GOOD": np.array([[1, 1, 1]], np.uint8),  # no background, and a twin of "good"
        "size": np.zeros((2, 3), np.uint8),
        "value": np.array([[0, 7, 9]], np.uint8),
        "colour": np.zeros((1, 3, 3), np.uint8),
        "image": np.zeros((1, 3), np.uint8),
        "turned": np.zeros((1, 3), np.uint8),
        "nomask": None,
        "what?": None,
    }
    for name, labels in maps.items():
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        options = {"exif": exif} if name == "turned" else {}
        Image.new("RGB", (3, 1)).save(tmp_path / "JPEGImages" / f"{name}.jpg", **options)
        if labels is not None:
            Image.fromarray(labels).save(tmp_path / "SegmentationClass" / f"{name}.png")
    (tmp_path / "JPEGImages" / "image.jpg").write_bytes(b"not an image")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(maps))
    (tmp_path / "labels.txt").write_text("good cat\nGOOD dog\nsize\n")
    d = open_dataset("voc", tmp_path, classes="cat, dog")
    report = check_dataset(d)
    assert (report.images, report.masks, report.labelled, report.turned, report.no_background) == (9, 6, 3, 1, 1)
    assert report.labels_differ == 1
    assert report.images_per_class == {"cat": 2, "dog": 0}
    assert report.smallest == report.largest == (3, 1)
    assert report.ignore_share == 1 / (5 * 3 + 6)
    problems = "\n".join(report.problems)
    for text in (
        "GOOD: differs from good only in case or Unicode normalization",
        "size.png: the label map is 3x2, its image 3x1",
        "value.png: label values 7, 9 are outside 0..2 and 255",
        "colour.png: a label map must contain class indices",
        "image.jpg: not an image",
        "nomask: no label map",
        "what?: no label map",
        'what?: contains one of <>:"|?*, which Windows forbids; rename the image',
    ):
        assert text in problems
    assert len(report.problems) == 8
    # Of these a run can tell before it starts what it could not score: not that an image is damaged or a twin.
    faults = list(truth_faults(d, d.samples))
    assert faults == [p for p in report.problems if any(f"{name}.png" in p for name in ("size", "value", "colour"))]
    assert len(faults) == 3
    assert list(truth_faults(d, d.samples[:2])) == []
    json.dumps(report.to_json(), allow_nan=False)


def test_a_folder_has_no_ground_truth_to_miss(tmp_path: Path):
    Image.new("RGB", (3, 1)).save(tmp_path / "a.jpg")
    (tmp_path / "labels.txt").write_text("a cat")
    report = check_dataset(open_dataset("folder", tmp_path, classes="cat, dog"))
    assert (report.problems, report.masks, report.ignore_share, report.images_per_class["cat"]) == ([], 0, None, 1)


def test_faults_of_coco_are_found_without_its_masks(tmp_path: Path, monkeypatch):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    Image.new("RGB", (30, 20)).save(tmp_path / "b.jpg")
    polygon = {"image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    table = {
        "categories": [{"id": 1, "name": "person"}],
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30},
            {"id": 2, "file_name": "b.jpg", "height": 30, "width": 20},
        ],
        "annotations": [polygon, {**polygon, "id": 7, "segmentation": {"counts": [5], "size": [20, 30]}}],
    }
    (tmp_path / "instances_x.json").write_text(json.dumps(table))
    d = open_dataset("coco", tmp_path)
    problems = check_dataset(d).problems
    assert len(problems) == 2
    assert (
        "instances_x.json: image 1 has a malformed annotation (7: runs of 5 pixels in an image of 600)" in problems[0]
    )
    assert problems[1] == "b: the label map is 20x30, its image 30x20"
    monkeypatch.setattr(d, "mask", None)
    assert list(truth_faults(d, d.samples)) == problems
