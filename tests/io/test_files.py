"""Files are whole or not there; JSON holds what numpy gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from wsss_seed.io.files import (
    atomic_replace,
    is_part,
    names_in,
    open_file,
    plain,
    remove_parts,
    remove_tree,
    write_bytes,
    write_json,
    write_lines,
    write_once,
    write_text,
)
from wsss_seed.io.source import Source


def test_write_replaces_whole_files(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "é\n")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "photo").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "photo")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "photo").read_bytes() == b"mine"
    assert not (tmp_path / "link").is_symlink()


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failed_write_leaves_the_former_file_and_no_part(tmp_path):
    write_bytes(tmp_path / "a", b"old")

    def half(part):
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_replace(tmp_path / "a", half)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_name_that_just_fits(tmp_path):
    longest = "x" * 251 + ".png"
    write_bytes(tmp_path / longest, b"1")
    assert os.listdir(tmp_path) == [longest]


def test_parts_are_removed_and_nothing_else(tmp_path):
    def kill(part):
        part.write_bytes(b"half")
        (tmp_path / "sub").mkdir()
        part.rename(tmp_path / "sub" / part.name)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the rename leaves the part as a kill would
        atomic_replace(tmp_path / "mask.png", kill)
    (left,) = (tmp_path / "sub").iterdir()
    assert is_part(left)
    assert left.suffix != ".png"
    (tmp_path / ".mine.part").write_bytes(b"")
    (tmp_path / "0123456789abcdef.part").write_bytes(b"")
    remove_parts([tmp_path])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        ".mine.part",
        "0123456789abcdef.part",
    ]


def test_plain_json(tmp_path):
    value = {
        1: np.float32(0.5),
        "array": np.arange(3),
        "nan": float("nan"),
        "deep": [{"x": (np.int64(3), np.inf)}],
        "path": tmp_path,
        "set": {"b", "a"},
        "flag": np.bool_(True),
    }
    expected = {
        "1": 0.5,
        "array": [0, 1, 2],
        "nan": None,
        "deep": [{"x": [3, None]}],
        "path": str(tmp_path),
        "set": ["a", "b"],
        "flag": True,
    }
    assert plain(value) == expected
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == expected


@pytest.fixture
def remote():
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").store.clear()
    yield Source("memory://folder")
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("where", ["local", "remote"])
def test_folders_and_object_storage_alike(where: str, tmp_path: Path, request: pytest.FixtureRequest):
    folder = tmp_path / "folder" if where == "local" else request.getfixturevalue("remote")
    assert names_in(folder) == []
    write_bytes(folder / "b/c", b"c")
    assert write_once(folder / "b/d", b"d")
    assert not write_once(folder / "b/d", b"e")
    write_lines(folder / "b/lines", (f"{number}\n".encode() for number in range(3)))
    assert names_in(folder / "b") == ["c", "d", "lines"]
    with open_file(folder / "b/lines") as file:
        assert file.read() == b"0\n1\n2\n"
        file.seek(2)
        assert file.readline() == b"1\n"
    with pytest.raises(FileNotFoundError):
        open_file(folder / "none")
    remove_tree(folder / "b")
    assert names_in(folder) == []
