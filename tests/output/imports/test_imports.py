"""What imports of all formats have in common: whose masks they are, and that nothing is lost."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from tests.output.editors import correct, in_use, repaint
from tests.output.odd_run import content, label_maps, write_run
from wsss_seed.data.corrections import CorrectionLog
from wsss_seed.errors import DataError, RunFolderError, UsageError
from wsss_seed.output.export import EDITORS, export
from wsss_seed.output.finished import open_run
from wsss_seed.output.imports import FORMATS, import_masks
from wsss_seed.output.leases import Worker


def source_of(format: str, out):
    """What of an export is imported."""
    names = {"cvat": "segmentation_mask.zip", "labelstudio": "tasks.json", "labelme": "images", "fiftyone": "."}
    return out / names[format]


def edited(tmp_path, run, name="ring"):
    """An export to CVAT in which a corner of an image was painted."""
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    export("cvat", run, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "segmentation_mask.zip") as archive:
        archive.extractall(tmp_path / "out" / "voc")
    (path,) = (tmp_path / "out" / "voc" / "SegmentationClass").glob(f"{name}-ws*.png")
    repaint(path, (0, 0, 5, 3), (255, 0, 0))
    return tmp_path / "out" / "voc"


def painted(labels):
    labels = labels.copy()
    labels[:3, :5] = 1
    return labels


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_exported_comes_back_unchanged(run, tmp_path, format):
    """Also from a moved copy of the run, and after the run was corrected."""
    export(format, run, tmp_path / "out")
    shutil.copytree(run, tmp_path / "elsewhere")
    correct(tmp_path / "elsewhere", "ring", label_maps()["rings"])
    before = content(tmp_path / "elsewhere")
    for place in (run, tmp_path / "elsewhere"):
        result = import_masks(format, place, source_of(format, tmp_path / "out"))
        assert (result.changed, result.skipped) == ((), ())
        assert result.unchanged + result.without == len(label_maps())
    assert not (run / "Corrections").exists()
    assert content(tmp_path / "elsewhere") == before


def test_every_editor_can_be_exported_to():
    assert set(EDITORS) == set(FORMATS)


@pytest.mark.parametrize("format", FORMATS)
def test_another_run_is_refused(run, tmp_path, format):
    other = write_run(tmp_path / "other", tmp_path / "photos", note="another")
    export(format, other, tmp_path / "out")
    with pytest.raises(DataError, match="exported from another run"):
        import_masks(format, run, source_of(format, tmp_path / "out"))
    assert not (run / "Corrections").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_of_other_classes_is_refused(run, tmp_path, format):
    export(format, run, tmp_path / "out")
    (run / "classes.txt").write_text("background\na\nb\nc\nd\n")
    with pytest.raises(DataError):
        import_masks(format, run, source_of(format, tmp_path / "out"))
    assert not (run / "Corrections").exists()


def test_a_mask_corrected_since_the_export_is_kept_unless_it_is_to_be_overwritten(run, tmp_path):
    source = edited(tmp_path, run)
    mine = label_maps()["ring"]
    mine[-1] = 2
    correct(run, "ring", mine, "brush")
    result = import_masks("cvat", run, source)
    assert (result.changed, result.exit_status) == ((), 1)
    assert result.skipped == (("ring", "reviewed since the export by Ann (brush)"),)
    np.testing.assert_array_equal(in_use(run, "ring"), mine)
    result = import_masks("cvat", run, source, overwrite=True)
    assert (result.changed, result.exit_status) == (("ring",), 0)
    np.testing.assert_array_equal(in_use(run, "ring"), painted(label_maps()["ring"]))
    found = open_run(run, corrected=False)
    with CorrectionLog(run, found.names, found.palette) as log:
        assert [c.what for c in log.history("ring")] == ["brush", "imported from CVAT"]


def test_a_mask_changed_by_another_program_is_kept(run, tmp_path):
    source = edited(tmp_path, run)
    shutil.copy(run / "SegmentationClass" / "rings.png", run / "SegmentationClass" / "ring.png")
    result = import_masks("cvat", run, source)
    assert result.skipped == (("ring", "the mask of the run has changed since the export"),)
    np.testing.assert_array_equal(in_use(run, "ring"), label_maps()["rings"])


def test_a_corrected_mask_is_exported_and_edited_further(run, tmp_path):
    mine = label_maps()["ring"]
    mine[-1] = 2
    correct(run, "ring", mine)
    assert import_masks("cvat", run, edited(tmp_path, run)).changed == ("ring",)
    np.testing.assert_array_equal(in_use(run, "ring"), painted(mine))


@pytest.mark.parametrize("verdict", ["accepted", "rejected"])
def test_the_verdict_stays(run, tmp_path, verdict):
    source = edited(tmp_path, run)
    found = open_run(run, corrected=False)
    with CorrectionLog(run, found.names, found.palette) as log:
        log.decide("ring", revision=0, verdict=verdict, what="looked")
        assert import_masks("cvat", run, source).skipped[0][0] == "ring"
        import_masks("cvat", run, source, overwrite=True)
        log.refresh()
        assert log.latest("ring").verdict == verdict
        assert log.latest("ring").mask is not None


def test_a_run_that_is_being_written_is_refused(run, tmp_path):
    source = edited(tmp_path, run)
    worker = Worker(run / ".work")
    try:
        with pytest.raises(RunFolderError, match="still writing to this run"):
            import_masks("cvat", run, source)
    finally:
        worker.leave()
    assert import_masks("cvat", run, source).changed == ("ring",)


def test_names_without_ids_and_twice(run, tmp_path):
    source = edited(tmp_path, run)
    folder = source / "SegmentationClass"
    (ring,) = folder.glob("ring-*.png")
    shutil.copy(ring, folder / f"copy-of-{ring.name}")
    with pytest.raises(DataError, match="both masks of ring"):
        import_masks("cvat", run, source)
    (folder / f"copy-of-{ring.name}").rename(folder / "photo.png")
    with pytest.raises(DataError, match=r"photo\.png has no tag of wsss-seed in its name"):
        import_masks("cvat", run, source)
    assert not (run / "Corrections").exists()


def test_other_refusals(run, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'cvat'"):
        import_masks("cvt", run, tmp_path)
    with pytest.raises(DataError, match="no such file"):
        import_masks("cvat", run, tmp_path / "nowhere.zip")
    with pytest.raises(RunFolderError, match="no such folder"):
        import_masks("cvat", tmp_path / "nowhere", tmp_path)
    for format in FORMATS:
        (tmp_path / "nothing").mkdir(exist_ok=True)
        with pytest.raises(DataError):
            import_masks(format, run, tmp_path / "nothing")
        for text in ("{", "[]", "{}", "[1]", "null", json.dumps({"images": 3, "annotations": None})):
            (tmp_path / "odd.json").write_text(text)
            with pytest.raises(DataError):
                import_masks(format, run, tmp_path / "odd.json")
    assert not (run / "Corrections").exists()


def test_errors_name_the_file_that_was_given(run, tmp_path):
    """Not the folder it was unpacked to."""
    source = edited(tmp_path, run)
    (ring,) = (source / "SegmentationClass").glob("ring-*.png")
    ring.write_bytes(b"torn")
    (source / "labelmap.txt").write_bytes((source / "labelmap.txt").read_bytes())
    shutil.make_archive(str(tmp_path / "task"), "zip", source)
    with pytest.raises(DataError) as raised:
        import_masks("cvat", run, tmp_path / "task.zip")
    assert str(raised.value).startswith(f"{tmp_path / 'task.zip'}/SegmentationClass/ring-")
    (source / "labelmap.txt").write_text("tiger:1,2,3::\n")
    with pytest.raises(DataError) as raised:
        import_masks("cvat", run, source)
    assert str(raised.value).startswith(f"{source}: labelmap.txt, line 1: has the label 'tiger'")


def test_a_damaged_mask_of_the_run_is_not_overwritten(run, tmp_path):
    source = edited(tmp_path, run)
    (run / "SegmentationClass" / "ring.png").write_bytes(b"torn")
    with pytest.raises(RunFolderError, match="repair the run first"):
        import_masks("cvat", run, source, overwrite=True)
    assert not (run / "Corrections").exists()


def test_runs_with_nested_folders(tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos", layout="nested")
    assert import_masks("cvat", run, edited(tmp_path, run)).changed == ("ring",)
    np.testing.assert_array_equal(in_use(run, "ring"), painted(label_maps()["ring"]))
