"""VOC trees."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.errors import DataError, ImageError, WsssError

IDS = ["2007_000032", "2007_000039", "2008_000002", "2008_000003"]


def png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def lists(root: Path, **names: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in names.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Four images: two of train, one of val, one that only SBD annotates."""
    for i, id in enumerate(IDS):
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        Image.new("RGB", (6, 4), (i * 50, 0, 0)).save(tmp_path / "JPEGImages" / f"{id}.jpg")
        png(tmp_path / "SegmentationClassAug" / f"{id}.png", np.full((4, 6), i + 10, np.uint8))
        if i < 3:
            png(tmp_path / "SegmentationClass" / f"{id}.png", np.full((4, 6), i, np.uint8))
    lists(tmp_path, train=IDS[:2], val=IDS[2:3], trainval=IDS[:3])
    return tmp_path


def test_splits_and_their_masks(voc: Path):
    d = open_dataset("voc", voc)
    assert (d.split, d.class_set.name, [s.id for s in d], d.has_masks) == ("train", "voc", IDS[:2], True)
    assert [int(d.mask(s)[0, 0]) for s in d] == [0, 1]
    assert [s.id for s in open_dataset("voc", voc, "trainval")] == IDS[:3]
    assert [s.id for s in open_dataset("voc", voc, "val")] == IDS[2:3]


def test_labels_of_other_splits_are_told_apart_from_mistyped_names(voc: Path):
    """A label file of all splits, of which the folder has a part, two names that nothing has, and one of no form."""
    rows = [*IDS, "2011_003145", "2011003146", "2007-000032", "a.jpg"]
    (voc / "labels.csv").write_text("image,label\n" + "".join(f"{id},cat\n" for id in rows))
    d = open_dataset("voc", voc)
    assert d.unlabelled == 0
    assert d.elsewhere == f"{voc / 'labels.csv'}: 4 entries are of images outside voc train"
    assert d.unmatched == f"{voc / 'labels.csv'}: 2 entries name no image of this dataset (2007-000032, a.jpg)"
    assert d.remarks == [d.elsewhere, d.unmatched]
    for old, new in zip(IDS, "abcd", strict=True):  # a tree in VOC layout with names of its own
        (voc / "JPEGImages" / f"{old}.jpg").rename(voc / "JPEGImages" / f"{new}.jpg")
    lists(voc, train=["a", "b"], val=["c"], trainval=["a"])
    (voc / "labels.csv").write_text("image,label\nJPEGImages/a.jpg,cat\nJPEGImages/d.jpg,cat\ne.jpg,cat\n")
    d = open_dataset("voc", voc)
    assert d.elsewhere.endswith("1 entry is of an image outside voc train")
    assert d.unmatched.endswith("1 entry names no image of this dataset (e.jpg)")


def test_train_aug_with_and_without_its_list(voc: Path):
    # Without a list: every augmented mask that has an image and is not of val.
    for name in ("train_aug", "trainaug"):
        d = open_dataset("voc", voc, name)
        assert (d.split, [s.id for s in d]) == ("train_aug", [IDS[0], IDS[1], IDS[3]])
        assert [int(d.mask(s)[0, 0]) for s in d] == [10, 11, 13]
    lists(voc, trainaug=[IDS[3], IDS[0]])
    for name in ("train_aug", "trainaug"):
        d = open_dataset("voc", voc, name)
        assert (d.split, [s.id for s in d]) == ("trainaug", [IDS[3], IDS[0]])
    (voc / "SegmentationClassAug" / f"{IDS[0]}.png").unlink()
    assert [int(d.mask(s)[0, 0]) for s in open_dataset("voc", voc, "train_aug")] == [13, 0]


def test_any_list_and_any_image_suffix(voc: Path):
    Image.new("RGB", (5, 5)).save(voc / "JPEGImages" / "my photo.PNG")
    lists(voc, mine=["my photo", " 2008_000003 ", "", "2007_000032"])
    d = open_dataset("voc", voc, "mine")
    assert [s.id for s in d] == ["my photo", "2008_000003", "2007_000032"]
    assert d.image(d[0]).shape == (5, 5, 3)
    assert [s.mask is None for s in d] == [True, True, False]
    assert not d.has_masks
    assert d.mask(d[0]) is None


@pytest.mark.parametrize("slash", ["", "/"])
def test_lists_of_image_and_mask(voc: Path, slash: str):
    lists(voc, pairs=[f"{slash}JPEGImages/{i}.jpg {slash}SegmentationClassAug/{i}.png" for i in IDS[:2]])
    d = open_dataset("voc", voc, "pairs")
    assert [(s.id, int(d.mask(s)[0, 0])) for s in d] == [(IDS[0], 10), (IDS[1], 11)]


@pytest.mark.parametrize("inner", ["VOC2012", "VOCdevkit/VOC2012"])
def test_the_tree_is_found_inside(voc: Path, tmp_path_factory, inner: str):
    root = tmp_path_factory.mktemp("outer")
    (root / inner).parent.mkdir(exist_ok=True)
    (root / inner).symlink_to(voc)
    (voc / "image_labels.json").write_text(json.dumps({IDS[0]: ["cat"]}))
    d = open_dataset("voc", root)
    assert [s.labels for s in d] == [(7,), None]


def test_default_split(voc: Path):
    segmentation = voc / "ImageSets" / "Segmentation"
    (segmentation / "train.txt").unlink()
    with pytest.raises(WsssError, match="name a split; there are train_aug, trainval, val"):
        open_dataset("voc", voc)
    for p in [*segmentation.glob("*.txt"), *(voc / "SegmentationClassAug").glob("*")]:
        p.unlink()
    (voc / "SegmentationClassAug").rmdir()
    with pytest.raises(WsssError, match="no list of images"):
        open_dataset("voc", voc)
    lists(voc, test=IDS)
    assert open_dataset("voc", voc).split == "test"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2007_000032", "", "2009_000001"], r"mine\.txt, line 3: missing image JPEGImages/2009_000001\.jpg"),
        (["../../etc/passwd"], r"line 1: image id '\.\./\.\./etc/passwd' contains a '\.' or '\.\.' part"),
        (["/etc/passwd"], "is an absolute path"),
        (["2007_000032", "2007_000039", "2007_000032"], r"line 3: image id '2007_000032' is already given by .*line 1"),
        (["JPEGImages/2007_000032.jpg SegmentationClass/none.png"], "no such label map"),
        ([f"JPEGImages/2007_000032.jpg {'x' * 5000}.png"], "no such label map"),
        (["JPEGImages/2007_000032.jpg ../x.png"], r"'\.\.' part"),
        ([""], r"mine\.txt: no image"),
    ],
)
def test_bad_lists(voc: Path, lines: list[str], message: str):
    lists(voc, mine=lines)
    with pytest.raises(WsssError, match=message):
        open_dataset("voc", voc, "mine")


def test_unknown_split(voc: Path):
    with pytest.raises(
        WsssError, match=r"unknown split 'vla'; known: train, train_aug, trainval, val\. Did you mean 'val'"
    ):
        open_dataset("voc", voc, "vla")


def test_two_files_of_one_image(voc: Path):
    Image.new("RGB", (5, 5)).save(voc / "JPEGImages" / "2007_000032.png")
    with pytest.raises(WsssError, match=r"2007_000032\.jpg and 2007_000032\.png have the same id"):
        open_dataset("voc", voc)
    Image.new("L", (5, 5)).save(voc / "SegmentationClass" / f"{IDS[0]}.tif")
    assert open_dataset("voc", voc, "val")[0].id == IDS[2]  # whose list does not have it
    lists(voc, train=[IDS[1]])
    Image.new("L", (5, 5)).save(voc / "SegmentationClass" / f"{IDS[1]}.tif")
    with pytest.raises(WsssError, match=r"SegmentationClass: 2007_000039\.png and 2007_000039\.tif have the same id"):
        open_dataset("voc", voc)


def test_the_tree_knows_its_classes(voc: Path):
    (voc / "classes.txt").write_text("background\nsnail\nslug\n")
    assert open_dataset("voc", voc).class_set.names == ("snail", "slug")
    assert open_dataset("voc", voc, classes="voc").class_set.name == "voc"
    (voc / "class_names.txt").write_text("background\n" + "\n".join(load_class_set("voc").names))
    assert open_dataset("voc", voc).class_set is load_class_set("voc")


def test_labels_from_annotations(voc: Path):
    (voc / "Annotations").mkdir()
    (voc / "Annotations" / f"{IDS[1]}.xml").write_text(
        "<annotation><object><name>dog</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox>"
        "</object><object><name>unicorn</name></object></annotation>"
    )
    d = open_dataset("voc", voc)
    assert [s.labels for s in d] == [None, (11,)]
    boxes = d.boxes(d[1])
    # VOC counts pixels from 1 and includes the last.
    assert boxes.xyxy.tolist() == [[1, 0, 5, 4]]
    assert boxes.classes.tolist() == [11]
    assert d.boxes(d[0]) is None


def test_labels_derived_from_masks(voc: Path):
    """Background and ignored pixels are no class; an image without objects is known to have none."""
    png(voc / "SegmentationClass" / f"{IDS[0]}.png", np.array([[0, 255, 20, 3], [3, 3, 0, 255]], np.uint8))
    png(voc / "SegmentationClass" / f"{IDS[1]}.png", np.array([[0, 255]], np.uint8))
    (voc / "cls_labels.txt").write_text(f"{IDS[0]} cat\n")  # found beside the dataset without `labels`
    d = open_dataset("voc", voc, labels="masks")
    assert [s.labels for s in d] == [(2, 19), ()]
    assert (d.labels_source, d.unlabelled) == ("ground-truth masks", 0)


def test_labels_masks_needs_usable_ground_truth(voc: Path, tmp_path_factory):
    mask = voc / "SegmentationClass" / f"{IDS[1]}.png"
    for damage, message in (
        (lambda: png(mask, np.full((4, 6), 21, np.uint8)), f"{IDS[1]}.png: label values 21 are outside 0..20 and 255"),
        (lambda: mask.write_bytes(b"no png"), f"{IDS[1]}.png: "),
        (mask.unlink, f"voc train: no ground-truth mask of image {IDS[1]} to derive `labels` masks from"),
    ):
        damage()
        with pytest.raises(DataError, match=re.escape(message)) as error:
            open_dataset("voc", voc, labels="masks")
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="folder all: no ground-truth mask"):
        open_dataset("folder", voc / "JPEGImages", classes="cat,", labels="masks")


def test_boxes_from_instances(voc: Path):
    labels = np.array([[0, 3, 3, 255, 5, 5], [0, 3, 3, 255, 5, 0], [0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]], np.uint8)
    instances = np.array([[0, 1, 1, 255, 2, 2], [0, 1, 1, 255, 2, 0], [0, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0]], np.uint8)
    png(voc / "SegmentationClass" / f"{IDS[0]}.png", labels)
    png(voc / "SegmentationObject" / f"{IDS[0]}.png", instances)
    d = open_dataset("voc", voc)
    boxes = d.boxes(d[0])
    assert boxes.xyxy.dtype == np.float32
    assert boxes.xyxy.tolist() == [[1, 0, 3, 2], [4, 0, 6, 2], [0, 3, 1, 4]]
    assert boxes.classes.tolist() == [2, 4, 2]
    png(voc / "SegmentationObject" / f"{IDS[0]}.png", instances[:2])
    with pytest.raises(WsssError, match="differs from the label map"):
        d.boxes(d[0])


def test_damaged_files_concern_one_image(voc: Path):
    (voc / "JPEGImages" / f"{IDS[0]}.jpg").write_bytes(b"")
    (voc / "SegmentationClass" / f"{IDS[1]}.png").write_bytes(b"\x89PNG")
    d = open_dataset("voc", voc)
    with pytest.raises(ImageError, match="empty file"):
        d.image(d[0])
    assert d.image(d[1]).shape == (4, 6, 3)
    with pytest.raises(ImageError):
        d.mask(d[1])


def test_ten_thousand_ids_open_quickly(tmp_path: Path):
    import time

    ids = [f"2008_{i:06d}" for i in range(10_000)]
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (tmp_path / folder).mkdir()
        for id in ids:
            (tmp_path / folder / f"{id}.{suffix}").touch()
    lists(tmp_path, train=ids)
    vector = np.eye(20, dtype=np.float32)[3]
    np.save(tmp_path / "cls_labels.npy", {int(id.replace("_", "")): vector for id in ids})
    start = time.process_time()
    d = open_dataset("voc", tmp_path)
    assert time.process_time() - start < 3
    assert len(d) == 10_000
    assert {s.labels for s in d} == {(3,)}
    assert d.has_masks
