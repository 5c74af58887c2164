"""COCO instances and their semantic ground truth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.data.coco import CATEGORY_IDS, Coco
from wsss_seed.errors import ImageError, WsssError

H, W = 20, 30


def box(x: int, y: int, w: int, h: int) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def counts(region: np.ndarray) -> list[int]:
    """Run lengths of a bool (H, W) mask down its columns, zeros first."""
    flat = region.ravel("F").astype(int)
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    return np.diff(edges, prepend=0).tolist()


def write(root: Path, split: str, table: dict[str, Any], images: str = "images") -> Path:
    for image in table["images"]:
        path = root / images / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (W, H)).save(path)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(table))
    return root


CROWD = np.zeros((H, W), bool)
CROWD[15:, 20:] = True


@pytest.fixture
def table() -> dict[str, Any]:
    def thing(id: int, image: int, category: int, segmentation: object, area: float, xywh: list[float], crowd: int = 0):
        return {"id": id, "image_id": image, "category_id": category, "segmentation": segmentation, "area": area,
                "bbox": xywh, "iscrowd": crowd}  # fmt: skip

    return {
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}],
        "images": [
            {"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "height": H, "width": W},
            {"id": 4, "file_name": "COCO_val2014_000000000004.jpg", "height": H, "width": W},
        ],
        "annotations": [
            thing(1, 9, 13, box(4, 4, 4, 4), 16, [4, 4, 4, 4]),
            thing(2, 9, 1, box(2, 2, 10, 10), 100, [2, 2, 10, 10]),
            thing(3, 9, 90, {"counts": counts(CROWD), "size": [H, W]}, 50, [20, 15, 10, 5], 1),
            thing(4, 9, 1, [], 0, [0, 0, 1, 1]),
            thing(5, 9, 1, [[1, 1, 30, 20]], 0, [0, 0, 1, 1]),
        ],
    }


def test_contiguous_labels_follow_the_category_ids():
    # The unused ids are left out: id 13 -> 12, id 90 -> 80.
    assert len(CATEGORY_IDS) == 80
    assert CATEGORY_IDS.index(13) + 1 == 12
    assert CATEGORY_IDS.index(90) + 1 == 80


def test_small_instances_lie_on_top_and_crowds_are_their_class(tmp_path: Path, table: dict):
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    assert (d.name, d.split, d.class_set.name, d.has_masks) == ("coco", "val2014", "coco", True)
    assert [(s.id, s.labels) for s in d] == [
        ("COCO_val2014_000000000009", (0, 11, 79)),
        ("COCO_val2014_000000000004", ()),
    ]
    want = np.zeros((H, W), np.uint8)
    want[2:12, 2:12] = 1
    want[4:8, 4:8] = 12  # listed first, painted last
    want[CROWD] = 80
    np.testing.assert_array_equal(d.mask(d[0]), want)
    assert not d.mask(d[1]).any()
    assert d.image(d[0]).shape == (H, W, 3)
    ignoring = Coco(tmp_path, ignore_crowds=True)
    want[CROWD] = 255
    np.testing.assert_array_equal(ignoring.mask(d[0]), want)
    assert "crowds as 255" in ignoring.mask_rule
    assert "descending area" in ignoring.mask_rule


def test_boxes_leave_crowds_out(tmp_path: Path, table: dict):
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    boxes = d.boxes(d[0])
    assert boxes.xyxy[:2].tolist() == [[4, 4, 8, 8], [2, 2, 12, 12]]
    assert boxes.classes.tolist() == [11, 0, 0, 0]
    assert d.boxes(d[1]).xyxy.shape == (0, 4)


def test_another_class_set_and_other_categories(tmp_path: Path, table: dict):
    write(tmp_path, "val2014", table)
    d = open_dataset("coco", tmp_path, classes="human, toothbrush")
    assert d[0].labels == (1,)
    d = open_dataset("coco", tmp_path, classes="voc")  # where person is 15 and signs are background
    assert set(np.unique(d.mask(d[0]))) == {0, 15}
    assert d[0].labels == (14,)
    with pytest.raises(WsssError, match="none of its categories"):
        open_dataset("coco", tmp_path, classes="snail,")
    table["categories"] = [{"id": 90, "name": "slug"}, {"id": 1, "name": "snail"}, {"id": 13, "name": "worm"}]
    write(tmp_path, "val2014", table)
    d = open_dataset("coco", tmp_path)
    assert d.class_set.names == ("snail", "worm", "slug")  # in order of id
    assert (d.class_set.name, d[0].labels) == ("instances_val2014", (0, 1, 2))


@pytest.mark.parametrize("images", ["images", "images/val2014", "val2014", "."])
def test_where_images_lie(tmp_path: Path, table: dict, images: str):
    d = open_dataset("coco", write(tmp_path, "val2014", table, images))
    assert d[0].image.resolve() == (tmp_path / images / "COCO_val2014_000000000009.jpg").resolve()


def test_choice_of_the_split(tmp_path: Path, table: dict):
    write(tmp_path, "val2017", table)
    assert open_dataset("coco", tmp_path).split == "val2017"
    assert open_dataset("coco", tmp_path, "val").split == "val2017"
    write(tmp_path, "train2017", table)
    assert open_dataset("coco", tmp_path).split == "train2017"
    write(tmp_path, "val2014", table)
    for split in ("val", "tset"):
        with pytest.raises(WsssError, match=f"unknown split '{split}'; known: train2017, val2014, val2017"):
            open_dataset("coco", tmp_path, split)


def test_label_files_and_none(tmp_path: Path, table: dict):
    write(tmp_path, "val2014", table)
    (tmp_path / "image_labels.json").write_text("{}")
    assert open_dataset("coco", tmp_path).labels_source.endswith("instances_val2014.json")
    d = open_dataset("coco", tmp_path, labels="none")
    assert (d.labels_source, d[0].labels) == (None, None)
    (tmp_path / "list.txt").write_text("COCO_val2014_000000000004 16\n")
    d = open_dataset("coco", tmp_path, labels=tmp_path / "list.txt")
    assert [s.labels for s in d] == [None, (16,)]


def test_boxes_without_masks_are_no_ground_truth(tmp_path: Path, table: dict):
    for a in table["annotations"]:
        a["segmentation"] = []
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    assert not d.has_masks
    assert d.mask(d[0]) is None


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a//b.jpg"])
def test_file_names_stay_inside(tmp_path: Path, table: dict, name: str):
    write(tmp_path, "val2014", table)
    table["images"][0]["file_name"] = name
    (tmp_path / "annotations" / "instances_val2014.json").write_text(json.dumps(table))
    with pytest.raises(WsssError, match=r"instances_val2014\.json, image 9: image id"):
        open_dataset("coco", tmp_path)


def test_missing_and_repeated_images(tmp_path: Path, table: dict):
    write(tmp_path, "val2014", table)
    (tmp_path / "images" / "COCO_val2014_000000000004.jpg").unlink()
    with pytest.raises(WsssError, match=r"instances_val2014\.json: image COCO_val2014_000000000004\.jpg is missing"):
        open_dataset("coco", tmp_path)
    table["images"][0]["file_name"] = f"{'x' * 5000}/a.jpg"
    (tmp_path / "annotations" / "instances_val2014.json").write_text(json.dumps(table))
    with pytest.raises(WsssError, match="is missing"):
        open_dataset("coco", tmp_path)
    table["images"][0]["file_name"] = "COCO_val2014_000000000009.jpg"
    table["images"][1]["file_name"] = table["images"][0]["file_name"]
    write(tmp_path, "val2014", table)
    with pytest.raises(WsssError, match=r"image 4: image id .* already given by .*image 9"):
        open_dataset("coco", tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"images": [], "annotations": [], "categories": []}',
     '{"images": 3, "annotations": [], "categories": []}',
     '{"images": [{"id": 1}], "annotations": [], "categories": []}',
     '{"images": [], "annotations": [{"category_id": 1}], "categories": []}', '{"categories": ["a"]}'],
)  # fmt: skip
def test_files_that_are_not_coco(tmp_path: Path, text: str):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_x.json").write_text(text)
    with pytest.raises(WsssError, match=r"instances_x\.json"):
        open_dataset("coco", tmp_path)


@pytest.mark.parametrize(
    "segmentation",
    [
        [["a"] * 6],
        [3],
        {"counts": "garbage"},
        {"counts": [1, 2], "size": [3, 3]},
        {"size": [H, W]},
        "x",
        # These hang or kill the process in pycocotools, or in one of its earlier versions.
        [[1, 1, 9, 1, 9, math.inf]],
        [[1, 1, 9, 1, -1e9, 9]],
        {"counts": [10**6], "size": [H, W]},
        {"counts": [10**6], "size": [1000, 1000]},
        {"counts": "PPYo0", "size": [H, W]},
    ],
)
def test_a_malformed_annotation_concerns_one_image(tmp_path: Path, table: dict, segmentation: object):
    table["annotations"][0]["segmentation"] = segmentation
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    for read in (d.mask, d.check_mask):
        with pytest.raises(ImageError) as e:
            read(d[0])
        assert f"{d.path}: image 9 has a malformed annotation (1: " in str(e.value)
        assert str(e.value).endswith("; correct or remove it")
        assert "\n" not in str(e.value)
    assert d.mask(d[1]).shape == d.check_mask(d[1]) == (H, W)


@pytest.mark.parametrize("area", [math.nan, math.inf, "large", None, [1], 10**400])
def test_a_malformed_area(tmp_path: Path, table: dict, area: object):
    table["annotations"][0]["area"] = area
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    for read in (d.mask, d.check_mask):
        with pytest.raises(ImageError, match="image 9 has a malformed annotation"):
            read(d[0])


@pytest.mark.parametrize("width", [10**9, 0, -3, 1.5, "wide", None])
def test_an_image_of_no_usable_size(tmp_path: Path, table: dict, width: object):
    table["images"][0]["width"] = width
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    for read in (d.mask, d.check_mask):
        with pytest.raises(ImageError, match=r"val2014\.json: image 9 has no usable size .*; correct it"):
            read(d[0])


def test_areas_may_be_left_out(tmp_path: Path, table: dict):
    write(tmp_path, "val2014", table)
    want = open_dataset("coco", tmp_path).mask(open_dataset("coco", tmp_path)[0])
    for a in table["annotations"]:
        del a["area"]
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    np.testing.assert_array_equal(d.mask(d[0]), want)


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, math.nan], [1, 2, 3, 10**400], "x", None])
def test_a_malformed_box(tmp_path: Path, table: dict, box: object):
    table["annotations"][0]["bbox"] = box
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    with pytest.raises(ImageError, match="image 9 has a malformed box"):
        d.boxes(d[0])


def test_nothing_is_printed(tmp_path: Path, table: dict, capfd):
    d = open_dataset("coco", write(tmp_path, "val2014", table))
    d.mask(d[0])
    assert capfd.readouterr() == ("", "")


def test_the_class_set_has_cocos_names():
    assert load_class_set("coco").names[CATEGORY_IDS.index(13)] == "stop sign"
    assert load_class_set("coco").names[CATEGORY_IDS.index(90)] == "toothbrush"
