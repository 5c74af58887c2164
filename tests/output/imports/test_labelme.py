"""What labelme writes; how it paints is tested with the export."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.editors import correct, in_use
from tests.output.odd_run import NAMES, NOISE, content, label_maps
from wsss_seed.errors import DataError
from wsss_seed.output.export import export
from wsss_seed.output.export.labelme import painted, polygons
from wsss_seed.output.imports import import_masks


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    export("labelme", run, tmp_path / "out")
    return tmp_path / "out" / "images"


def file(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-ws*.json")
    return found


def change(path: Path, **values):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def add(path: Path, **shape):
    table = json.loads(path.read_text("utf-8"))
    table["shapes"].append(
        {"label": NAMES[0], "shape_type": "polygon", "points": [[0, 0], [4, 0], [4, 2], [0, 2]], **shape}
    )
    path.write_text(json.dumps(table), "utf-8")


def test_only_what_was_edited_changes(run, folder):
    """Polygons of ragged masks lose many pixels, none of which may come into the mask."""
    add(file(folder, "noise_img_src_x_onerror_alert_4_q_amp"))
    assert import_masks("labelme", run, folder).changed == (NOISE,)
    expected = label_maps()[NOISE]
    exported = painted(polygons(expected), expected.shape)
    assert (exported != expected).mean() > 0.01
    edited = np.zeros(expected.shape, bool)
    edited[:3, :5] = True
    expected[edited & (exported != 1)] = 1
    np.testing.assert_array_equal(in_use(run, NOISE), expected)


def test_shapes_may_be_removed_and_the_whole_image_too(run, folder):
    change(file(folder, "ring"), shapes=[])
    (table,) = [json.loads(file(folder, "touching").read_text("utf-8"))]
    change(file(folder, "touching"), shapes=[s for s in table["shapes"] if s["label"] != "__ignore__"])
    assert import_masks("labelme", run, folder).changed == ("ring", "touching")
    assert not in_use(run, "ring").any()
    found, before = in_use(run, "touching"), label_maps()["touching"]
    assert (found[before == 255] != 255).all()
    np.testing.assert_array_equal(found[before != 255], before[before != 255])


def test_masks_of_the_tools_that_make_them(run, folder):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1:3, 2:5] = 1
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    add(file(folder, "ring"), shape_type="mask", points=[[1.0, 2.0], [6.0, 5.0]], mask=text, label="__ignore__")
    assert import_masks("labelme", run, folder).changed == ("ring",)
    expected = label_maps()["ring"]
    expected[3:5, 3:6] = 255
    np.testing.assert_array_equal(in_use(run, "ring"), expected)


def test_after_another_correction_the_whole_file_counts_only_if_wanted(run, folder):
    add(file(folder, "ring"))
    correct(run, "ring", label_maps()["rings"])
    assert import_masks("labelme", run, folder).skipped[0][0] == "ring"
    import_masks("labelme", run, folder, overwrite=True)
    expected = label_maps()["ring"]
    expected[:3, :5] = 1
    np.testing.assert_array_equal(in_use(run, "ring"), expected)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({"label": "tiger"}, "has the label 'tiger'"),
        ({"points": [[0, 0], [4, 0]]}, "a 'polygon' with 2 points has no area"),
        ({"shape_type": "line", "points": [[0, 0], [4, 0]]}, "a 'line' with 2 points has no area"),
        ({"points": [[0, 0], [4, 0], [1e9, 3]]}, "points far outside of the image"),
        ({"points": [[0, 0], [4, 0], [float("nan"), 3]]}, "points far outside of the image"),
        ({"points": [[0, 0], [4, 0], [1]]}, "malformed"),
        ({"points": 3}, "malformed"),
        ({"shape_type": "mask", "points": [[0, 0], [4, 4]], "mask": "no PNG"}, "malformed"),
        ({"shape_type": "mask", "points": [[0, 0], [4, 4]], "mask": None}, "malformed"),
        ({"shape_type": "mask", "points": [[0, 0], [4, 4]], "mask": "iVBORw0KGgo="}, "malformed"),
    ],
)
def test_shapes_that_do_not_fit_change_nothing(run, folder, shape, text):
    change(file(folder, "rings"), shapes=[])
    add(file(folder, "ring"), **shape)
    before = content(run)
    with pytest.raises(DataError) as raised:
        import_masks("labelme", run, folder)
    assert text in str(raised.value)
    assert content(run) == before


def test_files_that_do_not_fit(run, folder):
    change(file(folder, "ring"), imageHeight=41)
    with pytest.raises(DataError, match="60 x 41 but 60 x 40 pixels in the run"):
        import_masks("labelme", run, folder)
    file(folder, "ring").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        import_masks("labelme", run, folder)
    file(folder, "ring").rename(folder / "photo.json")
    change(file(folder, "rings"))
    (folder / "photo.json").write_text(json.dumps({"shapes": [], "imagePath": "photo.jpg"}))
    with pytest.raises(DataError, match=r"photo\.json has no tag|photo\.jpg has no tag"):
        import_masks("labelme", run, folder)
