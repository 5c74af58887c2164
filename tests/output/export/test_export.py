"""What is the same in all formats: which images, where to, and that nothing is lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, label_maps, write_run
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.output.export import FORMATS, export
from wsss_seed.output.export.folder import whole_folder
from wsss_seed.output.export.parts import Entry, Part, flat_names


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
    assert result.gaps == "1 failed, 1 have not been processed yet"
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
    with Image.open(tmp_path / "copies" / "images" / "train" / "ring.jpg") as copied:
        assert copied.size == (60, 40)


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
    with pytest.raises(WsssError, match="`overwrite`"):
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
    assert "interrupted" in result.gaps


def test_names_without_folders_are_unlike_each_other():
    names = flat_names(["a/b", "a__b", "a__b~2", "c"])
    assert names["a/b"] == "a__b"
    assert len(set(names.values())) == 4
    assert not any("/" in name for name in names.values())


def test_the_command(cli, run, tmp_path):
    result = cli("export", "coco", run, "out")
    assert result.returncode == 0, result.stderr
    assert f"{len(label_maps())} images exported" in result.stdout
    assert "1 failed, 1 have not been processed yet" in result.stderr
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


def killed(run: Path, out: Path, at: str, *options: str) -> None:
    """Export in a process that is killed where ``at`` says, Python for the path that is renamed."""
    code = f"""
import os, sys
from pathlib import Path
from wsss_seed.output.export import export

def trap(event, args):
    if event == "os.rename" and (lambda source, target: {at})(*map(str, args[:2])):
        os._exit(9)

sys.addaudithook(trap)
export("yolo", Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
"""
    assert subprocess.run([sys.executable, "-c", code, str(run), str(out)], check=False).returncode == 9


def beside(out: Path) -> list[str]:
    """What lies beside an export, by the end of its name."""
    return sorted("".join(path.suffixes) for path in out.parent.glob(".*.part"))


def test_killed_in_the_middle_nothing_is_there_and_the_next_export_cleans_up(run, tmp_path):
    out = tmp_path / "exports" / "out"
    killed(run, out, "target.endswith('data.yaml')")
    assert not out.exists()
    assert len(beside(out)) == 1
    (foreign := out.with_name(f".{'0' * 16}-{'0' * 16}.new.part")).mkdir()  # of an export to another place
    assert export("yolo", run, out).images == {"train": len(label_maps())}
    assert [p for p in out.parent.iterdir() if p != out] == [foreign]


def test_killed_between_the_renames_the_next_export_puts_the_former_one_back(run, tmp_path):
    out = tmp_path / "exports" / "out"
    export("yolo", run, out)
    before = (out / "data.yaml").stat().st_ino
    killed(run, out, "target.endswith('/out')")
    assert not out.exists()
    assert len(beside(out)) == 2
    with pytest.raises(WsssError, match="use `overwrite`"):
        export("yolo", run, out)
    assert (out / "data.yaml").stat().st_ino == before
    assert not beside(out)
    export("yolo", run, out, overwrite=True)
    assert (out / "data.yaml").stat().st_ino != before


def test_killed_after_the_renames_the_new_export_stands(run, tmp_path):
    out = tmp_path / "exports" / "out"
    export("yolo", run, out)
    before = (out / "data.yaml").stat().st_ino
    killed(run, out, "source.endswith('.old.part')")
    assert (out / "data.yaml").stat().st_ino != before
    assert len(beside(out)) == 1
    export("yolo", run, out, overwrite=True)
    assert not beside(out)


def test_an_export_that_is_under_way_is_left_alone(run, tmp_path):
    out = tmp_path / "exports" / "out"
    with whole_folder(out, False, {}) as first:
        (first / "mine").write_text("1")
        with whole_folder(out, False, {}) as second:
            (second / "theirs").write_text("2")
        assert (first / "mine").exists()
        shutil.rmtree(out)
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert (out / "mine").exists()


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


def test_a_link_is_no_folder_to_export_to(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("elsewhere", "nowhere"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / name)
        with pytest.raises(WsssError, match="not a folder"):
            export("coco", run, tmp_path / "link", overwrite=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_class_names_are_taken_as_they_are(run, tmp_path):
    export("hf", run, tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "id2label.json").read_text()).values()) == ["background", *NAMES]
