"""Toyland on disk: written as a VOC tree, and read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data import load_class_set, open_dataset
from wsss_seed.data.check import check_dataset
from wsss_seed.data.toyland.tree import write_tree
from wsss_seed.errors import WsssError


def test_tree_and_back(tmp_path: Path):
    root = tmp_path / "toys"
    write_tree(root, "test", 6, 7)
    d = open_dataset("voc", root, classes="toyland")
    drawn = open_dataset("toyland", images=6, seed=7)
    assert (d.split, d.class_set, [s.id for s in d]) == ("test", drawn.class_set, [s.id for s in drawn])
    assert d.labels_source.endswith("image_labels.json")
    assert open_dataset("voc", root).class_set is load_class_set("toyland")  # by class_names.txt
    captions = json.loads((root / "captions.json").read_text())
    for s, t in zip(d, drawn, strict=True):
        scene = drawn.scene(t)
        assert s.labels == t.labels
        np.testing.assert_array_equal(d.mask(s), scene.labels)
        assert np.abs(d.image(s).astype(int) - scene.image).mean() < 4  # JPEG of quality 95
        assert captions[s.id] == scene.caption
        for folder, want in (("SegmentationClass", scene.labels), ("SegmentationObject", scene.instances)):
            with Image.open(root / folder / f"{s.id}.png") as image:
                assert image.mode == "P"
                assert len(image.getpalette()) == 768
                np.testing.assert_array_equal(np.asarray(image), want)
        with Image.open(root / "JPEGImages" / f"{s.id}.jpg") as image:
            assert {c[1:3] for c in image.layer} == {(1, 1)}  # colours are not subsampled
        # Boxes come from the instances; visible parts only, so they are those of the scene.
        boxes, true = d.boxes(s), drawn.boxes(t)
        np.testing.assert_array_equal(boxes.xyxy, true.xyxy)
        np.testing.assert_array_equal(boxes.classes, true.classes)
    assert check_dataset(d).problems == []


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_tree_is_the_same_each_time_and_grows_by_splits(tmp_path: Path):
    write_tree(tmp_path / "a", "test", 3, 0)
    before = files(tmp_path / "a")
    write_tree(tmp_path / "a", "test", 3, 0)
    assert files(tmp_path / "a") == before
    write_tree(tmp_path / "a", "train", 2, 0)
    after = files(tmp_path / "a")
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"image_labels.json", "captions.json", "toyland.json"}
    assert set(json.loads(after["image_labels.json"])) == {f"test_{i:06d}" for i in range(3)} | {
        "train_000000",
        "train_000001",
    }
    assert open_dataset("voc", tmp_path / "a").split == "train"
    assert len(open_dataset("voc", tmp_path / "a", "test")) == 3


def test_a_broken_off_tree_is_no_split_and_can_be_finished(tmp_path: Path, monkeypatch):
    import wsss_seed.io.png as masks

    whole = masks.write_mask

    def fail(path, *rest):
        if path.name == "test_000002.png":
            raise OSError(28, "No space left on device", str(path))
        return whole(path, *rest)

    monkeypatch.setattr(masks, "write_mask", fail)
    with pytest.raises(OSError, match="No space left"):
        write_tree(tmp_path / "a", "test", 4, 0)
    with pytest.raises(WsssError, match="no list of images"):
        open_dataset("voc", tmp_path / "a")
    monkeypatch.undo()
    write_tree(tmp_path / "a", "test", 4, 0)
    write_tree(tmp_path / "b", "test", 4, 0)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_tree_is_not_written_over_something_else(tmp_path: Path):
    write_tree(tmp_path / "toys", "test", 2, 0)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "toyland.json").write_text("[]")
    for out, count, seed, message in (
        (other, 2, 0, "is no toyland tree"),
        (other / "thesis.txt", 2, 0, "is no toyland tree"),
        (damaged, 2, 0, "damaged"),
        (tmp_path / "toys", 3, 0, "holds 2 images of test, not 3"),
        (tmp_path / "toys", 2, 1, "holds toyland of seed 0, not 1"),
    ):
        with pytest.raises(WsssError, match=message):
            write_tree(out, "test", count, seed)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    with pytest.raises(WsssError, match="unknown split of toyland"):
        write_tree(tmp_path / "new", "tset", 2, 0)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    write_tree(tmp_path / "empty", "test", 1, 0)
