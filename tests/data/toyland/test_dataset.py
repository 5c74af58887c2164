"""The dataset of drawn images: samples, labels and boxes are those of the scenes, each drawn once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss_seed.data import open_dataset
from wsss_seed.data.toyland import CLASSES, draw
from wsss_seed.data.toyland import dataset as toyland_dataset


def test_dataset_knows_everything():
    d = open_dataset("toyland", images=12, seed=7)
    assert (d.name, d.split, len(d), d.class_set.name, d.labels_source, d.has_masks) == (
        "toyland",
        "test",
        12,
        "toyland",
        "drawn",
        True,
    )
    assert len(open_dataset("toyland", labels="none")) == 100
    for i, sample in enumerate(d):
        scene = draw(i, "test", 7)
        assert sample.id == f"test_{i:06d}"
        assert (sample.image, sample.mask, sample.labels) == (None, None, scene.present)
        np.testing.assert_array_equal(d.image(sample), scene.image)
        np.testing.assert_array_equal(d.mask(sample), scene.labels)
        boxes = d.boxes(sample)
        np.testing.assert_array_equal(boxes.xyxy, scene.boxes)
        assert boxes.classes.tolist() == [o.index for o in scene.objects]
    assert d.samples[-1].id == "test_000011"
    assert [s.id for s in d.samples[2:8:3]] == ["test_000002", "test_000005"]
    with pytest.raises(IndexError):
        d.samples[12]


def test_what_is_given_out_may_be_written_to():
    d = open_dataset("toyland", images=1)
    d.image(d[0])[:] = 0
    d.mask(d[0])[:] = 0
    assert d.image(d[0]).any()
    assert d.mask(d[0]).any()


def test_a_sample_is_drawn_once(monkeypatch):
    drawn = []

    def counting(*which):
        drawn.append(which)
        return draw(*which)

    monkeypatch.setattr(toyland_dataset, "_scene", toyland_dataset.lru_cache(maxsize=32)(counting))
    d = open_dataset("toyland", images=50, split="train")
    for s in d:
        d.image(s), d.mask(s), d.boxes(s)
    assert drawn == [(i, "train", 0, "standard") for i in range(50)]


def test_labels_may_be_left_out_or_replaced(tmp_path: Path):
    d = open_dataset("toyland", images=3, labels="none")
    assert (d.labels_source, [s.labels for s in d]) == (None, [None] * 3)
    masks = open_dataset("toyland", images=3, labels="masks")
    assert [s.labels for s in masks] == [s.labels for s in open_dataset("toyland", images=3)]
    (tmp_path / "a.txt").write_text("test_000001 house, cup")
    d = open_dataset("toyland", images=3, labels=tmp_path / "a.txt")
    assert [s.labels for s in d] == [None, (0, 6), None]
    assert [open_dataset("toyland", images=3, labels=o).unlabelled for o in ("auto", "none")] == [0, 3]
    assert d.image(d[1]).shape[2] == 3
    path = tmp_path / "mine.toml"
    path.write_text("classes = [" + ", ".join(f'{{name = "{n}", phrases = ["toy {n}"]}}' for n in CLASSES) + "]")
    assert open_dataset("toyland", images=3, classes=path).class_set.phrases[0] == ("toy house",)


def test_ids_need_no_images(monkeypatch):
    d = open_dataset("toyland", images=3)
    expected = [s.id for s in d]
    monkeypatch.setattr(toyland_dataset, "_scene", None)
    assert d.ids == expected
