"""Parts of an export: pictures that cannot be used are left out and listed, and nothing is written through a link."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import NAMES, label_maps
from wsss_seed.output.export import export
from wsss_seed.output.export.parts import Entry, Part, flat_names


def test_a_copy_is_no_hard_link(run, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    export("mmseg", run, tmp_path / "links")
    export("mmseg", run, tmp_path / "copies", copy=True)
    photo = tmp_path / "photos" / "0.jpg"
    assert (tmp_path / "links" / "images" / "train" / "ring.jpg").samefile(photo)
    assert not (tmp_path / "copies" / "images" / "train" / "ring.jpg").samefile(photo)


def test_masks_that_are_no_use_are_left_out_and_listed(run, tmp_path):
    masks = run / "SegmentationClass"
    Image.fromarray(np.full((40, 60), 9, np.uint8)).save(masks / "ring.png")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(masks / "specks.png")
    (masks / "touching.png").write_bytes(b"torn")
    (run / "JPEGImages" / "void.jpg").unlink()
    result = export("mmseg", run, tmp_path / "out")
    assert dict(result.failed).keys() == {"ring", "specks", "touching"}
    assert "value 9" in dict(result.failed)["ring"]
    assert "3 x 3 but 60 x 40" in dict(result.failed)["specks"]
    assert result.exit_status == 1
    assert result.images["train"] == len(label_maps()) - 4
    assert "ring" not in (tmp_path / "out" / "train.txt").read_text().split()


def test_names_without_folders_are_unlike_each_other():
    names = flat_names(["a/b", "a__b", "a__b~2", "c"])
    assert names["a/b"] == "a__b"
    assert len(set(names.values())) == 4
    assert not any("/" in name for name in names.values())


@pytest.mark.parametrize("copy", [False, True])
def test_nothing_is_written_through_a_link(run, tmp_path, copy):
    mine = tmp_path / "mine.jpg"
    for name in ("ring", "rings"):  # a photograph, and one that was drawn
        entry = Entry(name, run / "JPEGImages" / f"{name}.jpg", run / "SegmentationClass" / f"{name}.png")
        (picture,) = Part("train", [entry], len(NAMES) + 1, copy, None)
        for put in (picture.put_image, picture.put_mask):
            mine.write_bytes(b"mine")
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(mine)
            put(tmp_path / "link")
            assert mine.read_bytes() == b"mine"
            assert (tmp_path / "link").resolve() != mine
