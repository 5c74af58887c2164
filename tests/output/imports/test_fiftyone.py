"""What FiftyOne exports: files, arrays, and what does not fit."""

import base64
import io
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.output.editors import in_use
from tests.output.odd_run import content, label_maps
from wsss_seed.errors import DataError
from wsss_seed.output.export import export
from wsss_seed.output.imports import import_masks


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    export("fiftyone", run, tmp_path / "out")
    return tmp_path / "out"


def change(exported: Path, mask: Any, number: int = 0, **more: Any) -> None:
    path = exported / "samples.json"
    table = json.loads(path.read_text())
    table["samples"][number] |= {"mask": mask, **more}
    path.write_text(json.dumps(table))


def packed(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def corner() -> np.ndarray:
    labels = label_maps()["ring"]
    labels[:3, :5] = 255
    return labels


@pytest.mark.parametrize("kind", ["file", "text", "binary", "int64"])
def test_masks_in_files_and_as_arrays(run, exported, kind):
    if kind == "file":
        (path,) = (exported / "fields" / "mask").glob("ring-*.png")
        Image.fromarray(corner()).save(path)
    elif kind == "binary":
        change(exported, {"_cls": "Segmentation", "mask": {"$binary": {"base64": packed(corner()), "subType": "00"}}})
    else:
        array = corner().astype(np.int64) if kind == "int64" else corner()
        change(exported, {"_cls": "Segmentation", "mask": packed(array)})
    assert import_masks("fiftyone", run, exported).changed == ("ring",)
    np.testing.assert_array_equal(in_use(run, "ring"), corner())


def test_a_sample_without_a_mask_is_left_as_it_is(run, exported):
    change(exported, None)
    result = import_masks("fiftyone", run, exported / "samples.json")
    assert (result.changed, result.without) == ((), 1)


def test_a_folder_of_masks(run, exported, tmp_path):
    """An ImageSegmentationDirectory."""
    shutil.copytree(exported / "fields" / "mask", tmp_path / "segmentation" / "labels")
    (path,) = (tmp_path / "segmentation" / "labels").glob("ring-*.png")
    Image.fromarray(corner()).save(path)
    assert import_masks("fiftyone", run, tmp_path / "segmentation").changed == ("ring",)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ({"mask_path": "../../run/SegmentationClass/ring.png"}, "leads out of the export"),
        ({"mask_path": "nowhere.png"}, "cannot be read"),
        ({"_cls": "Detections"}, "is no Segmentation"),
        ("text", "is no Segmentation"),
        ({"_cls": "Segmentation"}, "neither a file nor an array"),
        ({"mask": "no base64"}, "damaged mask"),
        ({"mask": {"$binary": 3}}, "damaged mask"),
        ({"mask": packed(np.zeros((40, 60)))}, "is no label map"),
        ({"mask": packed(np.full((40, 60), 300))}, "values from 300 to 300"),
        ({"mask": packed(np.full((40, 60), 9))}, "has the value 9"),
        ({"mask": packed(np.zeros((40, 61), np.uint8))}, "61 x 40 but 60 x 40 pixels"),
        ({"mask": packed(np.array([{}], object))}, "damaged mask"),
        ({"mask": base64.b64encode(zlib.compress(b"\x93NUMPY" + bytes(50))).decode()}, "damaged mask"),
    ],
)
def test_what_does_not_fit_changes_nothing(run, exported, mask, text):
    change(exported, {"mask": packed(np.zeros((40, 60), np.uint8))}, 1)
    change(exported, mask)
    before = content(run)
    with pytest.raises(DataError) as raised:
        import_masks("fiftyone", run, exported)
    assert text in str(raised.value)
    assert content(run) == before


def test_an_array_that_would_fill_the_memory_is_refused(run, exported, monkeypatch):
    monkeypatch.setenv("WSSS_SEED_MAX_MEGAPIXELS", "1")
    bomb = base64.b64encode(zlib.compress(bytes(10**7))).decode()
    change(exported, {"mask": bomb})
    with pytest.raises(DataError, match="more than"):
        import_masks("fiftyone", run, exported)
