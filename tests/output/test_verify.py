"""Everything that can be wrong with the files of a run is found, and repair queues just that."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from wsss_seed.data.images import read_labels
from wsss_seed.errors import RunFolderError
from wsss_seed.io.png import write_mask
from wsss_seed.output.run_folder import RunFolder, confidence_path, image_path, mask_path
from wsss_seed.output.verify import repair, verify

IDS = ("a", "b", "sub/c", "d")
OPTIONS = {"classes": "toyland", "labels": "none", "models": "tiny", "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("verify")
    world = ws.open_dataset("toyland", images=len(IDS))
    for id, sample in zip(IDS, world, strict=True):
        path = home / "photos" / f"{id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(world.image(sample)).save(path)
    ws.generate(home / "photos", out=home / "seeds", **OPTIONS)
    return home


@pytest.fixture
def home(made, tmp_path) -> Path:
    """The photographs and their run; its links lead to these copies."""
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    for link in (tmp_path / "home" / "seeds" / "JPEGImages").rglob("*.jpg"):
        target = tmp_path / "home" / "photos" / Path(os.readlink(link)).relative_to(made / "photos")
        link.unlink()
        link.symlink_to(target)
    return tmp_path / "home"


def masks(run: Path) -> dict[str, bytes]:
    folder = run / "SegmentationClass"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_a_whole_run(home):
    found = verify(home / "seeds")
    assert (found.checked, found.wrong, found.edited, found.failed, found.unfinished) == (len(IDS), (), (), 0, 0)
    assert found.unknown == found.queued == ()
    assert found.exit_status == 0
    assert repair(found) is found


def damage(run: Path, how: str) -> None:
    mask, confidence, image = (place(run, "sub/c", "flat") for place in (mask_path, confidence_path, image_path))
    labels = read_labels(mask)
    if how == "mask missing":
        mask.unlink()
    elif how == "mask torn":
        mask.write_bytes(mask.read_bytes()[:-60])
    elif how == "mask of another size":
        write_mask(mask, labels[:-1], ws.load_class_set("toyland").palette)
    elif how == "unknown label":
        write_mask(mask, np.full_like(labels, 77), ws.load_class_set("toyland").palette)
    elif how == "confidence missing":
        confidence.unlink()
    elif how == "confidence of another size":
        Image.fromarray(labels[1:]).save(confidence)
    elif how == "image missing":
        image.unlink()
    elif how == "photograph deleted":
        Path(os.readlink(image)).unlink()
    elif how == "photograph of another size":
        Image.new("RGB", (9, 8)).save(os.readlink(image))
    elif how == "photograph replaced":
        Image.new("RGB", labels.shape[::-1]).save(os.readlink(image))


CASES = {
    "mask missing": "its mask is missing",
    "mask torn": "its mask cannot be used: ",
    "mask of another size": "its mask is ",
    "unknown label": "its mask has label 77, beyond the 12 classes",
    "confidence missing": "its confidence map is missing",
    "confidence of another size": "its confidence map has another size than its mask",
    "image missing": "its image is missing",
    "photograph deleted": "which does not exist",
    "photograph of another size": "its image is 9x8, its mask ",
    "photograph replaced": "its image has changed since the mask was made",
}


@pytest.mark.parametrize("how", CASES)
def test_what_is_wrong_is_named_and_made_again(home, how):
    run = home / "seeds"
    before = masks(run)
    damage(run, how)
    found = verify(run)
    ((id, what),) = found.wrong
    assert id == "sub/c"
    assert CASES[how] in what
    assert str(run) not in what.replace(str(home / "photos"), "")
    assert found.exit_status == 1
    assert json.loads(json.dumps(found.to_json()))["wrong"] == [{"id": "sub/c", "what": what}]

    queued = repair(found)
    assert queued.queued == ("sub/c",)
    assert "sub/c.png" not in masks(run)
    assert "sub/c" not in (run / "ImageSets" / "Segmentation" / "all.txt").read_text().split()
    assert {id: error.startswith("queued again by verify: ") for id, error in ws.open_run(run).failed.items()} == {
        "sub/c": True
    }
    assert verify(run).wrong == ()
    if how != "photograph deleted":
        again = ws.generate(home / "photos", out=run, **OPTIONS)
        assert (again.result.made, again.result.skipped) == (1, 3)
        assert {name: before[name] == data for name, data in masks(run).items() if "photograph" not in how} == (
            dict.fromkeys(before, True) if "photograph" not in how else {}
        )
        assert verify(run).exit_status == 0
        assert "sub/c" in (run / "ImageSets" / "Segmentation" / "all.txt").read_text().split()


def test_edited_masks_are_named_and_left_alone(home):
    run = home / "seeds"
    labels = read_labels(mask_path(run, "a", "flat"))
    labels[0, 0] = 3
    times = mask_path(run, "a", "flat").stat()
    write_mask(mask_path(run, "a", "flat"), labels, ws.load_class_set("toyland").palette)
    os.utime(mask_path(run, "a", "flat"), ns=(times.st_atime_ns, times.st_mtime_ns))  # even if its time is the old one
    found = verify(run)
    assert found.edited == ("a",)
    assert found.exit_status == 0
    assert repair(found).queued == ()
    assert (read_labels(mask_path(run, "a", "flat")) == labels).all()


def test_masks_that_the_run_did_not_record(home):
    (home / "seeds" / "SegmentationClass" / "x").mkdir()
    (home / "seeds" / "SegmentationClass" / "x" / "y.png").write_bytes(b"")
    assert verify(home / "seeds").unknown == ("x/y.png",)


def test_a_run_without_masks(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    ws.generate(tmp_path / "photos", out=tmp_path / "seeds", **OPTIONS)
    found = verify(tmp_path / "seeds")
    assert (found.checked, found.failed, found.exit_status) == (0, 1, 0)


def test_folders_that_are_no_runs(tmp_path, home):
    with pytest.raises(RunFolderError, match="no such folder"):
        verify(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match="not a run folder"):
        verify(home / "photos")


def test_repair_waits_for_nobody(home):
    """A run that another process is writing to is left alone."""
    run = home / "seeds"
    mask_path(run, "a", "flat").unlink()
    found = verify(run)
    about = json.loads((run / "run.json").read_bytes())
    with (
        RunFolder(run, ws.load_class_set("toyland"), about["settings"], split="all"),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        repair(found)
    assert repair(found).queued == ("a",)


def test_a_run_that_does_not_say_its_classes(home):
    run = home / "seeds"
    mask_path(run, "a", "flat").unlink()
    found = verify(run)
    about = json.loads((run / "run.json").read_bytes())
    del about["settings"]["class_set"]["names"]
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunFolderError, match="does not say which classes"):
        repair(found)


def test_a_kill_while_repairing_leaves_a_run_that_can_be_repaired(home, monkeypatch):
    run = home / "seeds"
    for id in ("a", "b"):
        mask_path(run, id, "flat").unlink()
    found = verify(run)
    fail = RunFolder.fail

    def killed(self, sample, error, seconds):
        if sample.id == "b":
            raise KeyboardInterrupt
        return fail(self, sample, error, seconds)

    monkeypatch.setattr(RunFolder, "fail", killed)
    with pytest.raises(KeyboardInterrupt):
        repair(found)
    monkeypatch.undo()
    left = verify(run)
    assert [id for id, _ in left.wrong] == ["b"]
    repair(left)
    assert verify(run).exit_status == 0
