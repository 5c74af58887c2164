"""What Label Studio exports: annotators, order, soft edges, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.output.editors import in_use
from tests.output.odd_run import NAMES, content, label_maps
from wsss_seed.data.brush import encode_brush
from wsss_seed.errors import DataError
from wsss_seed.output.export import export
from wsss_seed.output.imports import import_masks


def brush(mask: np.ndarray, label: str, **more: Any) -> dict[str, Any]:
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]}
    sizes = {"original_width": width, "original_height": height, "image_rotation": 0}
    return {"type": "brushlabels", "value": value, **sizes, **more}


def annotation(*result: dict[str, Any], at: str = "2026-01-01T00:00:00Z", by: Any = 1, **more: Any) -> dict[str, Any]:
    return {"result": list(result), "updated_at": at, "completed_by": by, "was_cancelled": False, **more}


@pytest.fixture
def tasks(run: Path, tmp_path: Path) -> list[dict[str, Any]]:
    export("labelstudio", run, tmp_path / "out")
    found: list[dict[str, Any]] = json.loads((tmp_path / "out" / "tasks.json").read_text())
    return found


def imported(run: Path, tmp_path: Path, tasks: list[dict[str, Any]], **options: Any):
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    return import_masks("labelstudio", run, tmp_path / "project.json", **options)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_annotations_win_over_predictions_and_later_masks_are_on_top(run, tmp_path, tasks):
    first, second = box(0, 0, 20, 20), box(10, 10, 30, 30)
    noted = {"type": "choices", "value": {"choices": ["fine"]}}
    tasks[0]["annotations"] = [annotation(brush(first, NAMES[0]), brush(second, "ignore"), noted)]
    tasks[1]["annotations"] = [annotation()]  # everything erased
    tasks[2]["annotations"] = []
    result = imported(run, tmp_path, tasks)
    assert result.changed == ("ring", "rings")
    assert result.without == len(label_maps()) - 2
    expected = np.where(second, 255, first.astype(np.uint8))
    np.testing.assert_array_equal(in_use(run, "ring"), expected)
    assert not in_use(run, "rings").any()
    assert imported(run, tmp_path, tasks).changed == ()


def test_the_latest_annotation_or_that_of_an_annotator(run, tmp_path, tasks):
    by = [{"id": 3, "email": "ann@example.org"}, {"id": 4, "email": "bob@example.org"}, 5]
    tasks[0]["annotations"] = [
        annotation(brush(box(0, 0, 5, 5), NAMES[0]), at="2026-01-01T10:00:00Z", by=by[0]),
        annotation(brush(box(0, 0, 6, 6), NAMES[0]), at="2026-01-01T12:00:00.5+00:00", by=by[1]),
        annotation(brush(box(0, 0, 7, 7), NAMES[0]), at="2026-01-01T11:00:00Z", by=by[2]),
        annotation(brush(box(0, 0, 9, 9), NAMES[0]), at="2026-01-01T13:00:00Z", was_cancelled=True),
    ]
    for annotator, side in ((None, 6), ("ann@example.org", 5), ("4", 6), ("5", 7)):
        assert imported(run, tmp_path, tasks, annotator=annotator, overwrite=True).changed == ("ring",)
        np.testing.assert_array_equal(in_use(run, "ring"), box(0, 0, side, side))
    assert imported(run, tmp_path, tasks, annotator="nobody").without == len(label_maps())


def test_the_url_of_the_image_names_it_where_data_was_changed(run, tmp_path, tasks):
    """As after an upload to Label Studio, which puts something in front of the name."""
    name = tasks[0]["data"]["wsss_seed"]
    tasks[0]["data"] = {"image": f"/data/upload/1/4f3c2a1b-{name}.jpg"}
    tasks[0]["annotations"] = [annotation(brush(box(0, 0, 5, 5), NAMES[0]))]
    assert imported(run, tmp_path, tasks[:1]).changed == ("ring",)


def test_soft_edges_are_cut_at_half(run, tmp_path, tasks):
    result = brush(box(0, 0, 5, 5), NAMES[0])
    values = np.zeros((40, 60, 4), np.uint8)
    values[:5, :5], values[5, :5], values[6, :5] = 200, 100, 99
    bits = f"{values.size:032b}" + "00111" + "0010001101111111"
    bits += "".join(f"100{0:03b}{value:08b}" for value in values.ravel())
    bits += "0" * (-len(bits) % 8)
    result["value"]["rle"] = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    tasks[0]["annotations"] = [annotation(result)]
    imported(run, tmp_path, tasks)
    np.testing.assert_array_equal(in_use(run, "ring"), box(0, 0, 5, 6))


def broken(**change: Any) -> dict[str, Any]:
    return brush(box(0, 0, 5, 5), NAMES[0]) | change


@pytest.mark.parametrize(
    ("annotations", "text"),
    [
        ([annotation(brush(box(0, 0, 5, 5), "tiger"))], "task 1: has the label 'tiger'"),
        ([annotation(brush(np.ones((3, 4), bool), NAMES[0]))], "task 1: 4 x 3 but 60 x 40 pixels in the run"),
        ([annotation(broken(type="polygonlabels"))], "an object of type polygonlabels"),
        ([annotation(broken(image_rotation=90))], "was rotated in Label Studio"),
        (
            [annotation(broken(value={"format": "rle", "rle": [1, 2, 3], "brushlabels": ["cat"]}))],
            "malformed brush mask",
        ),
        ([annotation(broken(value={"format": "rle", "rle": [], "brushlabels": []}))], "0 labels"),
        ([annotation(broken(value=None))], "malformed brush mask"),
        ([annotation(at="yesterday"), annotation()], "malformed annotation"),
        ([{"completed_by": 1}], "malformed annotation"),
        ([3], "malformed annotation"),
        ("text", "malformed annotation"),
        ([{"result": 3}], "malformed annotation"),
    ],
)
def test_what_does_not_fit_changes_nothing(run, tmp_path, tasks, annotations, text):
    tasks[0]["annotations"] = annotations
    tasks[1]["annotations"] = [annotation()]
    before = content(run)
    with pytest.raises(DataError) as raised:
        imported(run, tmp_path, tasks)
    assert text in str(raised.value)
    assert content(run) == before


def test_tasks_that_are_none(run, tmp_path, tasks):
    for value in ([{"image": "x", "label": []}], {"tasks": []}, [3]):
        with pytest.raises(DataError, match=r"not Label Studio tasks; .*JSON"):
            imported(run, tmp_path, value)
    with pytest.raises(DataError, match=r"has no tag of wsss-seed"):
        imported(run, tmp_path, [{"data": {}, "annotations": []}])
