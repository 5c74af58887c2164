"""Whatever reads a run folder finds the same in one whose files are nested."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.output.odd_run import CLASSES, content, label_maps, write_run
from wsss_seed.data.base import Sample
from wsss_seed.data.images import image_size, read_labels
from wsss_seed.data.lazy import Texts
from wsss_seed.data.samples import Files, FileSamples
from wsss_seed.data.voc import Voc
from wsss_seed.data.voc_layout import Layout, file_name, layout_of
from wsss_seed.errors import RunFolderError
from wsss_seed.evaluation.evaluate import evaluate, read_ids
from wsss_seed.output.export import FORMATS, export
from wsss_seed.output.finished import open_run
from wsss_seed.output.identity import class_set_content
from wsss_seed.output.manifest import Manifest
from wsss_seed.output.merge import merge
from wsss_seed.output.report import report
from wsss_seed.output.run_folder import RunFolder, confidence_path, image_path, mask_path
from wsss_seed.output.sheet import sheet
from wsss_seed.output.status import status
from wsss_seed.output.verify import repair, verify
from wsss_seed.run.learn import _reader
from wsss_seed.run.rounds import seed_of
from wsss_seed.segmenter.masks import check_masks
from wsss_seed.types import Seed

SEED = Seed(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.float32), ())
LIST = "ImageSets/Segmentation/odd list.txt"
IDS = [*label_maps()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("layouts")
    for layout in ("flat", "nested"):
        write_run(home / layout / "run", home / "photos", layout=layout, class_set=class_set_content(CLASSES))
    return home


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the flat and the nested run, under the same name because reports show it."""
    for layout in ("flat", "nested"):
        shutil.copytree(made / layout, tmp_path / layout, symlinks=True)
    return tmp_path / "flat/run", tmp_path / "nested/run"


def without_times(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        line["finished"] = 0
        if line["mask"]:
            line["mask"]["mtime_ns"] = 0
    return lines


def test_the_same_files_lie_in_folders_by_digest(runs):
    flat, nested = runs
    assert (layout_of(flat), layout_of(nested)) == ("flat", "nested")
    for folder, suffix in (("SegmentationClass", ".png"), ("Confidence", ".png"), ("JPEGImages", ".jpg")):
        files = {name.removesuffix(suffix): data for name, data in content(flat / folder).items()}
        assert content(nested / folder) == {f"{file_name(id, 'nested')}{suffix}": d for id, d in files.items()}
    assert without_times(flat) == without_times(nested)
    assert (flat / LIST).read_text("utf-8").splitlines() == IDS
    assert (nested / LIST).read_text("utf-8").splitlines() == [file_name(id, "nested") for id in IDS]


def test_it_is_still_a_voc_dataset_for_others(runs):
    """A line of the list is the name of an image and of a mask."""
    nested = runs[1]
    for name in (nested / LIST).read_text("utf-8").splitlines():
        image, mask = nested / f"JPEGImages/{name}.jpg", nested / f"SegmentationClass/{name}.png"
        assert image_size(image) == image_size(mask)


def voc(run: Path) -> Any:
    data = Voc(run, CLASSES)
    return [(s.id, data.image(s).tobytes(), data.mask(s).tobytes(), seed_of(data, s)) for s in data], sorted(
        data.outside
    )


def scores(run: Path) -> Any:
    whole = Voc(run, CLASSES)
    return [
        evaluate(run, whole, orientation="stored").to_json(),
        evaluate(run / "SegmentationClass", run / "SegmentationClass", ids=read_ids(run / LIST)).to_json(),
        evaluate(run, run).to_json(),
        evaluate(run, run, ids=[*IDS, "to come"], finished=True).to_json(),
    ]


def training(run: Path) -> Any:
    checked = check_masks(Voc(run, CLASSES), confidence=True)
    data = checked.data
    confidences = [data.confidence(s).tobytes() for s in data.samples] if data.confidence else None
    return checked.digest, checked.empty, checked.pixels.tolist(), [s.id for s in data.samples], confidences


def seeds_to_learn_from(run: Path) -> Any:
    data = Voc(run, CLASSES)
    read = _reader(run, data)
    return [read(sample).tobytes() for sample in data]


def page(run: Path) -> Any:
    result = report(run, run.parent / "report.html", truth=Voc(run, CLASSES))
    text = (run.parent / "report.html").read_text("utf-8")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z|flat|nested", "", text)  # of run.json, which it shows
    return {**result.to_json(), "out": "", "bytes": 0}, text


def pictures(run: Path) -> Any:
    sheet(run, run.parent / "sheet.png")
    return (run.parent / "sheet.png").read_bytes()


def found(run: Path) -> Any:
    return {**verify(run).to_json(), "run": ""}, {**status(run).to_json(), "run": "", "last": 0}


def of_python(run: Path) -> Any:
    opened = ws.open_run(run)
    return [record.id for record in opened.records], opened.failed, opened.evaluate(Voc(run, CLASSES)).to_json()


@pytest.mark.parametrize("read", [voc, scores, training, seeds_to_learn_from, page, pictures, found, of_python])
def test_readers_find_the_same(runs: tuple[Path, Path], read: Callable[[Path], Any]):
    flat, nested = map(read, runs)
    assert repr(flat) == repr(nested)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("copy", [False, True])
def test_exports_keep_their_layout(runs, tmp_path, format, copy):
    flat, nested = (tmp_path / f"{layout} exported" for layout in ("flat", "nested"))
    for run, out in zip(runs, (flat, nested), strict=True):
        export(format, run, out, copy=copy)
    of_flat, of_nested = content(flat), content(nested)
    for exported in (of_flat, of_nested):
        exported.pop("export.json")
        for name, data in exported.items():
            for path in (*runs, flat, nested):
                data = data.replace(str(path).encode(), b"")
            exported[name] = data
    assert of_flat == of_nested


def test_what_is_wrong_is_found_and_queued(runs):
    for run, layout in zip(runs, ("flat", "nested"), strict=True):
        mask_path(run, "ring", layout).write_bytes(b"damaged")
        confidence_path(run, "images/test/x__y", layout).unlink()
        image_path(run, "specks", layout).unlink()
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(run / "SegmentationClass/mine.png")
        wrong = verify(run)
        assert {id for id, _ in wrong.wrong} == {"ring", "images/test/x__y", "specks"}
        assert wrong.unknown == ("mine.png",)
        repair(wrong)
        assert [*Voc(run, CLASSES).ids] == [id for id in IDS if id not in ("ring", "images/test/x__y", "specks")]
        assert not mask_path(run, "ring", layout).exists()
    assert without_times(runs[0])[5:] == without_times(runs[1])[5:]


def test_a_killed_run_is_merged_in_its_layout(runs):
    nested = runs[1]
    with RunFolder(nested, CLASSES, open_run(nested).about["settings"], split="odd list") as folder:
        folder.fail(Sample("ring"), "gone", 0.0)
    assert merge(nested).failed == ("<img src=x onerror=alert(2)>", "ring")
    names = (nested / LIST).read_text("utf-8").splitlines()
    assert sorted(names) == sorted(file_name(id, "nested") for id in IDS if id != "ring")
    assert layout_of(nested) == "nested"


def test_a_run_stays_in_its_layout(tmp_path):
    def opened(layout: Layout | None, **options: Any) -> Layout:
        with RunFolder(tmp_path / "run", CLASSES, {"a": 1}, layout=layout, **options) as folder:
            return folder.layout

    assert opened("nested") == opened(None) == opened("nested") == "nested"
    with pytest.raises(RunFolderError, match="has the layout nested; leave `layout` out to continue it, use `overwr"):
        opened("flat")
    assert opened(None, overwrite=True) == "nested"
    assert opened("flat", overwrite=True) == opened(None) == "flat"
    with pytest.raises(RunFolderError, match="has the layout flat"):
        opened("nested")


def test_overwriting_in_another_layout_leaves_nothing_behind(runs):
    nested = runs[1]
    settings = open_run(nested).about["settings"]
    with RunFolder(nested, CLASSES, settings, layout="flat", overwrite=True) as folder:
        assert not (nested / "SegmentationClass").exists()
        folder.save(Sample("a"), np.zeros((2, 2, 3), np.uint8), SEED, 0.1)
        with pytest.raises(RunFolderError, match=r"other settings: layout \"flat\" -> \"nested\"; let it end"):
            RunFolder(nested, CLASSES, settings, layout="nested", overwrite=True)
        folder.finalize(["a"])
    assert [*content(nested / "SegmentationClass")] == ["a.png"]


def test_a_link_in_the_way_is_refused(tmp_path):
    folder = file_name("a", "nested").split("/")[0]
    (tmp_path / "elsewhere").mkdir()
    with RunFolder(tmp_path / "run", CLASSES, {"a": 1}, layout="nested") as run:
        (tmp_path / "run/SegmentationClass").mkdir()
        (tmp_path / "run/SegmentationClass" / folder).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RunFolderError, match="a link, but a run writes only into its own folders"):
            run.fail(Sample("a"), "x", 0.0)


def test_a_nested_run_resumes(runs):
    nested = runs[1]
    with RunFolder(nested, CLASSES, open_run(nested).about["settings"]) as folder:
        assert folder.former([Sample(id) for id in IDS]).done == set(IDS)
    with Manifest(nested) as manifest:
        assert [*manifest][: len(IDS)] == IDS


def test_a_line_added_by_hand_is_an_id(runs):
    nested = runs[1]
    Image.new("RGB", (4, 4)).save(nested / "JPEGImages/mine.jpg")
    with open(nested / LIST, "a") as file:
        file.write("mine\n")
    data = Voc(nested, CLASSES)
    assert [*data.ids] == [*IDS, "mine"]
    assert data[-1] == Sample("mine", nested / "JPEGImages/mine.jpg")
    assert read_labels(mask_path(nested, "ring", "nested")).shape == data.image(data[0]).shape[:2]
    assert FileSamples(Texts(["a"]), Files(nested, Texts(["a"])))[0].image == nested / "a"
