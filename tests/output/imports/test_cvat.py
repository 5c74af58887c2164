"""What CVAT writes, damaged in all ways that matter; reading by its own library is tested with the export."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.output.editors import in_use, repaint
from tests.output.odd_run import NAMES, content, label_maps
from wsss_seed.data.rle import checked_shape, rasterised
from wsss_seed.errors import DataError
from wsss_seed.output.export import export
from wsss_seed.output.export.coco import annotation
from wsss_seed.output.imports import import_masks
from wsss_seed.output.imports.cvat import paint

CAT = (255, 0, 0)


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    """An export, with its zip unpacked as ``voc``."""
    export("cvat", run, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "segmentation_mask.zip") as archive:
        archive.extractall(tmp_path / "out" / "voc")
    return tmp_path / "out"


def mask(exported: Path, name: str) -> Path:
    (found,) = (exported / "voc" / "SegmentationClass").glob(f"{name}-ws*.png")
    return found


def test_an_edited_mask_becomes_a_correction_and_the_others_do_not(run, exported):
    before = content(run)
    repaint(mask(exported, "ring"), (0, 0, 5, 3), (224, 224, 192))
    for dry_run in (True, False):
        result = import_masks("cvat", run, exported / "voc", by="Ann", dry_run=dry_run)
        assert result.changed == ("ring",)
        assert result.unchanged == len(label_maps()) - 1
        if dry_run:
            assert content(run) == before
    expected = label_maps()["ring"]
    expected[:3, :5] = 255
    np.testing.assert_array_equal(in_use(run, "ring"), expected)
    assert {name: data for name, data in content(run).items() if not name.startswith("Corrections/")} == before
    (line,) = map(json.loads, (run / "Corrections" / "log.jsonl").read_text().splitlines())
    assert (line["what"], line["by"], line["revision"]) == ("imported from CVAT", "Ann", 1)
    assert import_masks("cvat", run, exported / "voc").changed == ()  # in use already


def test_coco_with_polygons_and_later_objects_on_top(run, exported):
    table = json.loads((exported / "coco.json").read_text())
    number = next(i["id"] for i in table["images"] if i["file_name"].startswith("ring-"))
    box = {"image_id": number, "category_id": 3, "segmentation": [[0, 0, 10, 0, 10, 5, 0, 5]], "id": 900}
    hidden = np.zeros((40, 60), bool)
    hidden[:2, :2] = True
    table["annotations"] += [box, annotation(901, number, 255, hidden)]
    (exported / "task.json").write_text(json.dumps(table))
    assert import_masks("cvat", run, exported / "task.json").changed == ("ring",)
    expected = label_maps()["ring"]
    expected[:5, :10] = 3
    expected[:2, :2] = 255
    np.testing.assert_array_equal(in_use(run, "ring"), expected)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_an_image_without_objects_is_left_as_it_is_unless_it_is_meant(run, exported, kind):
    if kind == "voc":
        mask(exported, "ring").unlink()
        source = exported / "voc"
    else:
        source = exported / "coco.json"
        table = json.loads(source.read_text())
        number = next(i["id"] for i in table["images"] if i["file_name"].startswith("ring-"))
        table["annotations"] = [a for a in table["annotations"] if a["image_id"] != number]
        source.write_text(json.dumps(table))
    result = import_masks("cvat", run, source)
    assert result.changed == ()
    assert result.without == (1 if kind == "voc" else 2)  # the image "empty" has no objects in COCO
    assert import_masks("cvat", run, source, empty=True).changed == ("ring",)
    assert not in_use(run, "ring").any()


def test_masks_of_two_subsets_do_not_replace_each_other(run, exported):
    other = exported / "voc" / "SegmentationClass" / "validation" / mask(exported, "ring").name
    other.parent.mkdir()
    shutil.copy(mask(exported, "ring"), other)
    repaint(other, (0, 0, 5, 3), CAT)
    with pytest.raises(DataError, match="both masks of ring; remove one"):
        import_masks("cvat", run, exported / "voc")


def spoil_label_map(exported: Path) -> None:
    path = exported / "voc" / "labelmap.txt"
    path.write_text(path.read_text("utf-8").replace("cat:", "tiger:"), "utf-8")


def share_a_colour(exported: Path) -> None:
    path = exported / "voc" / "labelmap.txt"
    path.write_text(path.read_text("utf-8").replace(":255,0,0:", ":0,200,0:"), "utf-8")


def damage_label_map(exported: Path) -> None:
    (exported / "voc" / "labelmap.txt").write_text("cat:255,0:x\n")


def another_colour(exported: Path) -> None:
    repaint(mask(exported, "ring"), (0, 0, 5, 3), (1, 2, 3))


def another_size(exported: Path) -> None:
    mask(exported, "ring").write_bytes(mask(exported, "void").read_bytes())


def torn(exported: Path) -> None:
    mask(exported, "ring").write_bytes(mask(exported, "ring").read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_label_map, "has the label 'tiger', but the run has background, cat"),
        (share_a_colour, f"0,200,0, which cat and {NAMES[1]} share"),
        (damage_label_map, "is not label:r,g,b"),
        (another_colour, "1,2,3, which labelmap.txt lacks"),
        (another_size, "7 x 9 but 60 x 40 pixels in the run"),
        (torn, "damaged or truncated image"),
    ],
)
def test_what_does_not_fit_changes_nothing(run, exported, spoil, text):
    repaint(mask(exported, "specks"), (0, 0, 5, 3), CAT)
    spoil(exported)
    before = content(run)
    with pytest.raises(DataError) as raised:
        import_masks("cvat", run, exported / "voc")
    assert text in str(raised.value)
    assert content(run) == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"categories": [{"id": 1, "name": "tiger"}]}, "tiger"),
        ({"categories": [{"id": 1}]}, "not COCO"),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": 77, "segmentation": [[0, 0, 9, 0, 9, 9]]}]}, "77"),
        (
            {
                "annotations": [
                    {"id": 5, "image_id": 1, "category_id": 1, "segmentation": {"counts": [7], "size": [4, 6]}}
                ]
            },
            "annotation 5: malformed",
        ),
        ({"images": [{"id": 1, "file_name": "x.jpg", "height": 40, "width": 60}]}, "x.jpg has no tag of wsss-seed"),
        ({"images": []}, "holds no masks of CVAT; give"),
    ],
)
def test_coco_that_does_not_fit_changes_nothing(run, exported, change, text):
    table = json.loads((exported / "coco.json").read_text())
    (exported / "coco.json").write_text(json.dumps(table | change))
    before = content(run)
    with pytest.raises(DataError) as raised:
        import_masks("cvat", run, exported / "coco.json")
    assert text in str(raised.value)
    assert content(run) == before


def test_coco_of_another_size_is_refused(run, exported):
    table = json.loads((exported / "coco.json").read_text())
    table["images"][0]["height"] = 41
    (exported / "coco.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="60 x 41 but 60 x 40"):
        import_masks("cvat", run, exported / "coco.json")


@pytest.mark.parametrize(
    "segmentation",
    [
        {"counts": [0, 1, 2, 3, 4, 2], "size": [3, 4]},
        {"counts": [12], "size": [3, 4]},
        {"counts": [0, 12], "size": [3, 4]},
        {"counts": [5, 0, 3, 4], "size": [3, 4]},
        [[0, 0, 3, 0, 3, 2, 0, 2]],
    ],
)
def test_painting_is_rasterising(segmentation):
    shape = checked_shape(segmentation, 3, 4)
    labels = np.full((3, 4), 7, np.uint8)
    paint(labels, shape, 2)
    np.testing.assert_array_equal(labels, np.where(rasterised(shape, 3, 4), 2, 7))
