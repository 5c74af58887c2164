"""What is the same in all formats: which images, where to, and that nothing is lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_run import CLASSES, NAMES, label_maps, write_run
from PIL import Image

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.output.export import FORMATS, export
from wsss_seed.output.export.parts import flat_names


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tmp_path / "photos")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("format", FORMATS)
def test_finished_images_are_exported_and_the_others_told_of(run, tmp_path, format):
    result = export(format, run, tmp_path / "out")
    assert result.images == {"train": len(label_maps())}
    assert result.left_out == 2
    assert result.gaps == "1 failed, 1 have not been done yet"
    assert result.exit_status == 0
    assert json.loads((tmp_path / "out" / "export.json").read_text())["images"] == result.images
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "photos", "run"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_run_gives_the_same_bytes_and_can_be_moved(run, tmp_path, format):
    export(format, run, tmp_path / "a", copy=True)
    before = content(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "elsewhere" / "deep")
    export(format, run, tmp_path / "elsewhere" / "deep", copy=True, overwrite=True)
    assert content(tmp_path / "elsewhere" / "deep") == before


def test_images_are_links_to_the_originals_unless_copied(run, tmp_path):
    export("mmseg", run, tmp_path / "links")
    link = tmp_path / "links" / "images" / "train" / "ring.jpg"
    assert Path(os.readlink(link)) == tmp_path / "photos" / "0.jpg"
    export("mmseg", run, tmp_path / "copies", copy=True)
    assert not any(p.is_symlink() for p in (tmp_path / "copies").rglob("*"))
    shutil.rmtree(tmp_path / "photos")
    shutil.rmtree(run)
    assert Image.open(tmp_path / "copies" / "images" / "train" / "ring.jpg").size == (60, 40)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("absolute", [False, True])
def test_an_id_that_leads_out_of_the_folder_is_no_id(run, tmp_path, format, absolute):
    """A run from elsewhere whose manifest names a photograph of this machine as an id."""
    photo = tmp_path / "photos" / "a.jpg"
    shutil.copy(tmp_path / "photos" / "0.jpg", photo)
    before = photo.read_bytes()
    id = str(photo.with_suffix("")) if absolute else "../../photos/a"
    record = json.loads((run / "manifest.jsonl").read_text().splitlines()[0])
    for folder in ("SegmentationClass", "Confidence"):
        (run / folder / "x").mkdir(exist_ok=True)
        shutil.copy(run / folder / f"{record['id']}.png", run / folder / f"{id}.png")
    with open(run / "manifest.jsonl", "a") as file:
        file.write(json.dumps({**record, "id": id}) + "\n")
    outside = content(tmp_path)
    result = export(format, run, tmp_path / "out")
    assert result.images == {"train": len(label_maps())}
    assert photo.read_bytes() == before
    assert not photo.is_symlink()
    assert {name: data for name, data in content(tmp_path).items() if not name.startswith("out/")} == outside


def test_a_copy_is_no_hard_link(run, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    export("mmseg", run, tmp_path / "links")
    export("mmseg", run, tmp_path / "copies", copy=True)
    photo = tmp_path / "photos" / "0.jpg"
    assert (tmp_path / "links" / "images" / "train" / "ring.jpg").samefile(photo)
    assert not (tmp_path / "copies" / "images" / "train" / "ring.jpg").samefile(photo)


def test_an_export_is_replaced_only_when_asked_and_other_content_never(run, tmp_path):
    out = tmp_path / "out"
    export("yolo", run, out)
    with pytest.raises(WsssError, match="--overwrite"):
        export("coco", run, out)
    export("coco", run, out, overwrite=True)
    assert not (out / "data.yaml").exists()
    (out / "work_dirs").mkdir()
    with pytest.raises(WsssError, match="work_dirs"):
        export("coco", run, out, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(WsssError, match="not an export"):
            export("coco", run, other, overwrite=overwrite)
    with pytest.raises(WsssError, match="not a folder"):
        export("coco", run, other / "diary.txt")
    with pytest.raises(WsssError, match="run folder"):
        export("coco", run, run / "exported")
    with pytest.raises(WsssError, match="not an export"):
        export("coco", run, tmp_path)


def test_a_full_disk_leaves_the_former_export(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export("mmseg", run, out)
    before = content(out)
    real = os.replace

    def full(source, target):
        if Path(target).name == "train.txt":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WsssError, match="No space left on device"):
        export("mmseg", run, out, overwrite=True)
    assert content(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "photos", "run"]


def test_interrupted_nothing_is_left_behind(run, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsss_seed.output.export.yolo.write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export("yolo", run, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "run"]


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


def test_nothing_usable_is_an_error_and_leaves_nothing(run, tmp_path):
    for mask in (run / "SegmentationClass").rglob("*.png"):
        mask.write_bytes(b"torn")
    with pytest.raises(WsssError, match="none of 8 images"):
        export("mmseg", run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_validation_part(run, tmp_path, format):
    result = export(format, run, tmp_path / "out", validation=Voc(run, CLASSES))
    assert result.images == {"train": len(label_maps()), "val": len(label_maps())}
    assert len(result.shared) == len(label_maps())


def test_a_validation_part_of_other_classes_is_refused(run, tmp_path):
    with pytest.raises(WsssError, match="other classes"):
        export("coco", run, tmp_path / "out", validation=Voc(run, load_class_set("cat, dog")))


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(WsssError, match="no such folder"):
        export("coco", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(WsssError, match=r"no run\.json"):
        export("coco", tmp_path, tmp_path / "out")
    with pytest.raises(WsssError, match="Did you mean 'coco'"):
        export("cocoa", tmp_path, tmp_path / "out")


def test_a_killed_run_is_exported_as_far_as_it_got(run, tmp_path):
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "finished": None, "totals": None}))
    (run / "manifest.jsonl").rename(run / "manifest.shard-1-of-2.jsonl")
    result = export("mmseg", run, tmp_path / "out")
    assert result.images == {"train": len(label_maps())}
    assert result.left_out is None
    assert "broken off" in result.gaps


def test_names_without_folders_are_unlike_each_other():
    names = flat_names(["a/b", "a__b", "a__b~2", "c"])
    assert names["a/b"] == "a__b"
    assert len(set(names.values())) == 4
    assert not any("/" in name for name in names.values())


def test_the_command(cli, run, tmp_path):
    result = cli("export", "coco", run, "out")
    assert result.returncode == 0, result.stderr
    assert f"{len(label_maps())} images exported" in result.stdout
    assert "1 failed, 1 have not been done yet" in result.stderr
    again = cli("export", "coco", run, "out", "--overwrite", "--copy", "--json")
    assert json.loads(again.stdout) == {
        "out": "out",
        "format": "coco",
        "images": {"train": len(label_maps())},
        "missing": 2,
        "failed": [],
        "in_both": [],
    }
    for arguments, part in (
        (("coco", run, "out"), "--overwrite"),
        (("cocoa", run, "new"), "Did you mean 'coco'?"),
        (("coco", "nowhere", "new"), "nowhere"),
        (("coco", run, "new", "--val-split", "val"), "--val"),
    ):
        wrong = cli("export", *arguments)
        assert wrong.returncode == 2
        assert part in wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert not (tmp_path / "new").exists()


def test_killed_in_the_middle_nothing_stands_where_the_export_would(run, tmp_path):
    code = """
import os, sys
from pathlib import Path
from wsss_seed.output.export import export, yolo
write, count = yolo.write_text, iter(range(9))
def text(path, value):
    write(path, value)
    if next(count) == 3:
        os._exit(9)
yolo.write_text = text
export("yolo", Path(sys.argv[1]), Path(sys.argv[2]))
"""
    out = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", code, str(run), str(out)], check=False).returncode == 9
    assert not out.exists()
    assert export("yolo", run, out).images == {"train": len(label_maps())}


def test_class_names_are_taken_as_they_are(run, tmp_path):
    export("hf", run, tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "id2label.json").read_text()).values()) == ["background", *NAMES]
