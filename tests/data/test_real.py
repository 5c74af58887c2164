"""Real photographs and the label files of the field, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data import load_class_set, open_dataset, read_labels
from wsss_seed.data.check import check_dataset
from wsss_seed.data.coco import Coco
from wsss_seed.data.folder import Folder
from wsss_seed.data.labels import read_image_labels
from wsss_seed.io.text import read_lines


@pytest.mark.parametrize(("split", "images"), [("train", 90), ("val", 90), ("train_aug", 110), ("train_marked", 8)])
def test_voc(real_data: Path, split: str, images: int):
    d = open_dataset("voc", real_data / "voc", split)
    report = check_dataset(d)
    assert (report.images, report.masks, report.labelled) == (images, images, images)
    assert report.problems == []
    assert report.labels_differ == 0
    assert 0 < report.ignore_share < 0.1  # the outline of VOC's own annotations


def test_masks_added_by_sbd_have_no_outline(real_data: Path):
    own = {s.id for s in open_dataset("voc", real_data / "voc", "train", labels="none")}
    d = open_dataset("voc", real_data / "voc", "train_aug", labels="none")
    added = [s for s in d if s.id not in own]
    assert len(added) == 20
    assert not any((d.mask(s) == 255).any() for s in added)
    assert all("SegmentationClassAug" in str(s.mask) for s in added)


def test_boxes_of_annotation_and_instances_agree(real_data: Path):
    d = open_dataset("voc", real_data / "voc", "train")
    sample = next(s for s in d if s.id == "2007_000063")
    from wsss_seed.data.voc import _instance_boxes

    annotated = d.boxes(sample)
    path = real_data / "voc" / "SegmentationObject" / "2007_000063.png"
    drawn = _instance_boxes(read_labels(path), d.mask(sample), path)
    np.testing.assert_array_equal(annotated.classes, drawn.classes)
    assert [load_class_set("voc").names[i] for i in drawn.classes] == ["dog", "chair"]
    assert np.abs(annotated.xyxy - drawn.xyxy).max() <= 6


def test_label_files_of_the_field_agree(real_data: Path):
    lists = real_data / "lists" / "voc12"
    ids = [line for _, line in read_lines(lists / "train_aug.txt")]
    voc = load_class_set("voc")
    pickled = read_image_labels(lists / "cls_labels.npy", ids, voc)
    assert len(ids) == len(pickled) == 10_582
    assert pickled == read_image_labels(lists / "cls_labels.txt", ids, voc)
    assert pickled["2007_000032"] == (0, 14)
    for split in ("train", "val"):
        d = open_dataset("voc", real_data / "voc", split, labels=lists / "cls_labels.npy")
        # Detection labels hold at least the classes of the mask.
        for s, by_mask in zip(d, open_dataset("voc", real_data / "voc", split), strict=True):
            assert set(by_mask.labels) <= set(s.labels)


def test_coco_ground_truth_is_that_of_another_rasteriser(real_data: Path):
    for split, images in (("coco128", 64), ("official", 3)):
        for class_set, folder in (("coco", "SegmentationClassCOCO80"), ("voc", "SegmentationClassVOC20")):
            d = Coco(real_data / "coco", load_class_set(class_set), split, ignore_crowds=True)
            assert len(d) == images
            differ = []
            for s in d:
                want = read_labels(real_data / "coco" / folder / f"{s.id}.png")
                got = d.mask(s)
                assert got.shape == want.shape == d.image(s).shape[:2]
                differ.append((got != want).mean())
            # The two place outlines up to a pixel apart.
            assert max(differ) < 0.015
            assert np.mean(differ) < 0.005


def test_coco_labels_agree_with_the_lists(real_data: Path):
    d = open_dataset("coco", real_data / "coco", "coco128")
    found = {}
    for split in ("train", "val"):
        found |= read_image_labels(real_data / "lists" / "coco14" / f"{split}.txt", [s.id for s in d], d.class_set)
    assert len(found) == 63  # all but 000000000250, which shows no object
    more = [s.id for s in d if s.labels and not set(found[s.id]) <= set(s.labels)]
    assert more == []
    assert sum(found.get(s.id, ()) == s.labels for s in d) >= 50
    empty = next(s for s in d if s.id == "000000000250")
    assert empty.labels == ()
    assert not d.mask(empty).any()


def test_greyscale_photograph(real_data: Path):
    # COCO has greyscale JPEGs.
    d = open_dataset("coco", real_data / "coco", "coco128")
    image = d.image(next(s for s in d if s.id == "000000000086"))
    assert image.shape[2] == 3
    assert (image[..., 0] == image[..., 1]).all()


def test_any_folder_of_them(real_data: Path):
    d = Folder(real_data / "camvid" / "images", load_class_set("sky, road"))
    assert [d.image(s).shape for s in d] == [(720, 960, 3)] * 3
