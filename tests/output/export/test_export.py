"""What is the same in all formats: which images, where to, and that nothing is lost."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.output.odd_run import CLASSES, NAMES, content, label_maps
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.voc import Voc
from wsss_seed.errors import WsssError
from wsss_seed.output.export import EDITORS, FORMATS, export
from wsss_seed.output.finished import open_run
from wsss_seed.output.worst import chosen


@pytest.mark.parametrize("format", FORMATS)
def test_finished_images_are_exported_and_the_others_counted(run, tmp_path, format):
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


def test_nothing_usable_is_an_error_and_leaves_nothing(run, tmp_path):
    for mask in (run / "SegmentationClass").rglob("*.png"):
        mask.write_bytes(b"torn")
    with pytest.raises(WsssError, match="none of 8 images"):
        export("mmseg", run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", [format for format in FORMATS if format not in EDITORS])
def test_a_validation_part(run, tmp_path, format):
    result = export(format, run, tmp_path / "out", validation=Voc(run, CLASSES))
    assert result.images == {"train": len(label_maps()), "val": len(label_maps())}
    assert len(result.shared) == len(label_maps())


@pytest.mark.parametrize("format", EDITORS)
def test_editors_have_no_validation_part(run, tmp_path, format):
    with pytest.raises(WsssError, match="no validation part"):
        export(format, run, tmp_path / "out", validation=Voc(run, CLASSES))


def test_some_images_are_exported(run, tmp_path):
    result = export("mmseg", run, tmp_path / "out", classes=[NAMES[1]], worst=2)
    assert result.images == {"train": 2}
    listed = (tmp_path / "out" / "train.txt").read_text().splitlines()
    assert listed == chosen(open_run(run), classes=[NAMES[1]], worst=2)
    with pytest.raises(WsssError, match="for labelstudio only"):
        export("mmseg", run, tmp_path / "new", image_url_prefix="http://x/")


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
    (run / ".work").mkdir()
    (run / "manifest.jsonl").rename(run / ".work/0a.jsonl")
    result = export("mmseg", run, tmp_path / "out")
    assert result.images == {"train": len(label_maps())}
    assert result.left_out is None
    assert "interrupted" in result.gaps
