"""Who may hold a run folder, and what it holds where links are not possible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import WsssError
from wsss_seed.output.manifest import Manifest
from wsss_seed.output.run_folder import RunFolder, mask_path, place_image
from wsss_seed.types import Seed

CATS = ClassSet("cats", ("cat",), (("cat",),), ("cat",), ("grass",), voc_palette())
SEED = Seed(np.array([[0, 1], [1, 255]], np.uint8), np.ones((2, 2), np.float32), (0,), {0: np.float32(0.9)})
IMAGE = np.zeros((2, 2, 3), np.uint8)


def hold(path, settings=None, **options):
    return RunFolder(path, CATS, settings or {"a": 1}, **options)


def save(folder, name):
    return folder.save(Sample(name), IMAGE, SEED, 0.1)


def test_several_processes_with_the_same_settings(tmp_path):
    with hold(tmp_path), hold(tmp_path):
        with pytest.raises(WsssError, match="another process is writing"):
            hold(tmp_path, alone=True)
        with pytest.raises(WsssError, match="a 1 -> 2"):
            hold(tmp_path, {"a": 2})
        with pytest.raises(WsssError, match="another process is writing with other settings: a 1 -> 2"):
            hold(tmp_path, {"a": 2}, overwrite=True)
    with hold(tmp_path, alone=True):
        pass
    assert not (tmp_path / ".work").exists()


def test_the_last_process_to_end_concludes(tmp_path):
    with hold(tmp_path, split="val") as first:
        save(first, "a")
        with hold(tmp_path, split="val") as second:
            save(second, "b")
            assert second.former([Sample(name) for name in "abc"]).done == {"a", "b"}
            assert not first.finalize(["b", "a"])
            assert not (tmp_path / "manifest.jsonl").exists()
            assert second.finalize(["b", "a"])
    assert (tmp_path / "ImageSets/Segmentation/val.txt").read_text() == "b\na\n"
    assert not (tmp_path / ".work").exists()


def test_processes_of_one_command_clear_the_folder_once(tmp_path):
    with hold(tmp_path) as folder:
        save(folder, "old")
        folder.finalize(["old"])
    with hold(tmp_path, overwrite=True, token="x") as first:
        assert not mask_path(tmp_path, "old", "flat").exists()
        save(first, "a")
    with hold(tmp_path, overwrite=True, token="x") as second:  # as after the death of the first
        assert mask_path(tmp_path, "a", "flat").exists()
        second.plan([Sample("a")])
        with hold(tmp_path) as third:
            assert third.plan([Sample("a")]).plan.token == "x"
    with hold(tmp_path, overwrite=True, token="y"):
        assert not mask_path(tmp_path, "a", "flat").exists()


def test_what_a_process_makes_is_not_overwritten_meanwhile(tmp_path):
    with hold(tmp_path) as first:
        first.plan([Sample("a")])
        with hold(tmp_path, overwrite=True) as second, pytest.raises(WsssError, match="another process is writing"):
            second.plan([Sample("a")])


def test_a_finished_image_needs_all_its_files(tmp_path):
    with hold(tmp_path) as folder:
        for name in "abcd":
            save(folder, name)
        (tmp_path / "SegmentationClass/a.png").unlink()
        (tmp_path / "Confidence/b.png").unlink()
        (tmp_path / "JPEGImages/c.jpg").unlink()
        assert folder.former([Sample(name) for name in "abcd"]).done == {"d"}


def test_unfinished_writes_are_cleaned_at_the_next_start(tmp_path):
    with hold(tmp_path) as folder:
        save(folder, "sub/a")
    part = tmp_path / "SegmentationClass/sub/.0123456789abcdef.part"
    part.write_bytes(b"half")
    (tmp_path / ".work").mkdir(exist_ok=True)
    dead = tmp_path / ".work/dead.worker"
    dead.write_bytes(b"{}")
    os.utime(dead, (0, 0))
    with hold(tmp_path) as folder:
        assert not part.exists()
        part.write_bytes(b"half")  # another process is writing it
        with hold(tmp_path):
            assert part.exists()
        folder.finalize([])
    assert not part.exists()
    assert not (tmp_path / ".work").exists()


def test_killed_before_anything_was_written(tmp_path):
    """A worker file and half a run.json are no foreign folder."""
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/dead.worker").touch()
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"{")
    with hold(tmp_path):
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".work", "classes.txt", "run.json"]


def test_classes_file_is_made_again(tmp_path):
    with hold(tmp_path):
        (tmp_path / "classes.txt").unlink()
    with hold(tmp_path):
        assert (tmp_path / "classes.txt").read_text() == "background\ncat\n"


def test_about_is_recorded_but_not_compared(tmp_path):
    with hold(tmp_path, about={"weights": {"clip": "ab"}, "versions": {"torch": "2"}}):
        text = (tmp_path / "run.json").read_text()
    assert '"clip": "ab"' in text
    assert '"torch": "2"' in text
    assert '"wsss_seed"' in text
    with hold(tmp_path, about={"weights": {}}):
        pass


def test_overwrite_removes_only_what_a_run_writes(tmp_path):
    with hold(tmp_path) as folder:
        save(folder, "a")
    (tmp_path / "notes.txt").write_text("mine")
    with hold(tmp_path, {"a": 2}, overwrite=True):
        assert not mask_path(tmp_path, "a", "flat").exists()
        assert (tmp_path / "notes.txt").read_text() == "mine"


def test_hard_link_and_copy_where_there_are_no_symbolic_links(tmp_path, monkeypatch):
    source = tmp_path / "source.png"
    Image.fromarray(IMAGE).save(source)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    place_image(tmp_path / "out" / "a.jpg", source, IMAGE)
    assert (tmp_path / "out/a.jpg").samefile(source)
    monkeypatch.setattr(os, "link", refuse)
    place_image(tmp_path / "out" / "b.jpg", source, IMAGE)
    assert not (tmp_path / "out/b.jpg").samefile(source)
    assert (tmp_path / "out/b.jpg").read_bytes() == source.read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_link_follows_a_moved_image(tmp_path):
    for name in ("old.png", "new.png"):
        Image.fromarray(IMAGE).save(tmp_path / name)
        place_image(tmp_path / "a.jpg", tmp_path / name, IMAGE)
        assert os.readlink(tmp_path / "a.jpg") == str(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["SegmentationClass", "Confidence", "JPEGImages", "ImageSets", "ImageSets/Segmentation"]
)
def test_a_folder_that_is_a_link_is_refused(tmp_path, name):
    with hold(tmp_path / "run") as folder:
        save(folder, "a")
        folder.finalize(["a"])
    (tmp_path / "run" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(WsssError, match=rf"{name}: a link"):
            hold(tmp_path / "run", overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["SegmentationClass", "Confidence", "JPEGImages"])
def test_a_deeper_folder_that_is_a_link_is_refused(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_text("mine")
    with hold(tmp_path / "run") as folder:
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "sub").symlink_to(tmp_path / "elsewhere")
        for work in (save, lambda folder, id: folder.fail(Sample(id), "damaged", 0.1)):
            with pytest.raises(WsssError, match="sub: a link"):
                work(folder, "sub/a")
    assert [path.read_text() for path in (tmp_path / "elsewhere").iterdir()] == ["mine"]


def test_a_manifest_that_is_a_link_is_replaced(tmp_path):
    with hold(tmp_path / "run"):
        pass
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "run/manifest.jsonl").symlink_to(tmp_path / "elsewhere")
    with hold(tmp_path / "run") as folder:
        save(folder, "a")
        folder.finalize(["a"])
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not (tmp_path / "run/manifest.jsonl").is_symlink()


def test_an_error_with_an_undecodable_file_name_is_recorded(tmp_path):
    with hold(tmp_path / "run") as folder:
        folder.fail(Sample("a"), "\udcff.jpg: damaged", 0.1)
    assert Manifest(tmp_path / "run")["a"].error == "\\udcff.jpg: damaged"


def test_memory_hardly_grows_with_the_number_of_records(tmp_path):
    """Start and end of a run over 100,000 records of 1 kB; a million of them are to stay below 400 MB."""
    script = Path(__file__).with_name("many_records.py")

    def peak(records):
        command = [sys.executable, str(script), str(tmp_path / str(records)), str(records)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["peak_mb"]

    assert peak(100_000) - peak(1000) < 30
