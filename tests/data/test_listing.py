"""Which files below a folder are images, and what is said of the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.data.photographs import photo, refused
from wsss_seed.data import open_dataset
from wsss_seed.data.images import REMEDIES
from wsss_seed.data.listing import Listing, image_files, passed_over
from wsss_seed.errors import DataError


def test_files_that_are_passed_over_are_counted_by_kind(tmp_path: Path):
    photo(tmp_path / "a.jpg")
    for name in ("b.gif", "notes.txt", "sub/more.TXT", "sub/README", ".hidden.txt", "run/run.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "run/SegmentationClass").mkdir()  # a run folder is not entered
    (tmp_path / "folder.txt").mkdir()
    d = open_dataset("folder", tmp_path, classes="cat, dog")
    assert d.passed_over == "4 files passed over: 2 .txt, 1 without suffix, 1 .gif"
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(
        DataError, match=r"no image below it \(4 files passed over: 2 .txt, .*\); known suffixes are .jpg"
    ):
        open_dataset("folder", tmp_path, classes="cat, dog")


def test_images_that_cannot_be_read_here_are_named_first_with_the_remedy():
    counts = {f".{i}": 5 for i in range(10)} | {".heic": 2}
    text = passed_over(counts)
    remedy = REMEDIES.get(".heic")
    assert text.startswith("52 files passed over: ")
    assert (f"2 .heic (to read them: {remedy}), 5 .0" in text) == (remedy is not None)
    assert text.endswith("of other kinds")
    assert passed_over({}) == ""
    assert passed_over({".txt": 1}) == "1 file passed over: 1 .txt"


def test_links_are_followed_once(tmp_path: Path):
    photo(tmp_path / "far" / "a.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "far")
    (root / "self").symlink_to(root)
    assert [s.id for s in open_dataset("folder", root, classes="cat,")] == ["linked/a"]


def test_a_run_folder_inside_is_not_read(tmp_path: Path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "out" / "SegmentationClass" / "a.png")
    assert len(open_dataset("folder", tmp_path, classes="cat,")) == 2
    (tmp_path / "out" / "run.json").write_text("{}")
    assert [s.id for s in open_dataset("folder", tmp_path, classes="cat,")] == ["a"]


def test_the_same_stem_twice_in_one_folder(tmp_path: Path):
    for name in ("s/a.jpg", "t/a.jpg", "s/b.tif"):
        photo(tmp_path / name)
    assert refused(tmp_path) == {}
    photo(tmp_path / "s/a.png")
    photo(tmp_path / "s/a.png.bmp")  # has the id that a.png would be given
    errors = refused(tmp_path)
    assert list(errors) == ["s/a.jpg", "s/a.png~2"]
    assert errors["s/a.jpg"].startswith(
        f"{tmp_path}/s/a.jpg: s/a.png has the same name except for suffix, case or Unicode"
    )
    ids = [s.id for s in open_dataset("folder", tmp_path, classes="cat,")]
    assert ids == ["s/a.jpg", "s/a.png", "s/a.png~2", "s/b", "t/a"]


def test_ids_are_paths_without_suffix_in_order_of_the_names(tmp_path: Path):
    for name in ("b.JPG", "sub/b.png", "a.jpeg", "x.y.png", ".hidden.jpg", ".cache/c.jpg", "B.tif"):
        photo(tmp_path / name)
    found = list(image_files(tmp_path))
    assert found == [("B", "B.tif"), ("a", "a.jpeg"), ("b", "b.JPG"), ("sub/b", "sub/b.png"), ("x.y", "x.y.png")]


def test_files_of_one_id_are_kept_apart_until_one_is_asked_for(tmp_path: Path):
    for name in ("a.png", "a.jpg", "b.png"):
        photo(tmp_path / name)
    files = Listing(tmp_path)
    assert list(files) == [("a", "a.jpg"), ("a", "a.png"), ("b", "b.png")]
    assert (files.file("b"), files.file("c")) == ("b.png", None)
    with pytest.raises(DataError, match=r"a\.jpg and a\.png have the same id; rename or remove one of them"):
        files.file("a")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        with pytest.raises(DataError, match=f"{name}: cannot be listed"):
            list(image_files(tmp_path / name))


def test_strange_suffixes_are_not_shown(tmp_path: Path):
    for name in ("a.\x1b[31m", "b.averyverylongsuffix"):
        (tmp_path / name).touch()
    others: Counter[str] = Counter()
    assert list(image_files(tmp_path, others)) == []
    assert passed_over(others) == "2 files passed over: 2 other"
