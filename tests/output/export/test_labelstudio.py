"""Tasks of Label Studio, read as they are defined, and by its SDK in an environment of its own."""

import json
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.output.editors import environment, outside
from tests.output.odd_run import NAMES, label_maps
from wsss_seed.data.brush import decode_brush
from wsss_seed.output.export import export
from wsss_seed.output.imports import import_masks

LABELS = {name: label for label, name in enumerate(NAMES, 1)} | {"ignore": 255}


def test_tasks_hold_the_label_maps(run, tmp_path):
    export("labelstudio", run, tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [task["data"]["id"] for task in tasks] == list(label_maps())
    for task in tasks:
        expected = label_maps()[task["data"]["id"]]
        url = task["data"]["image"]
        assert url.startswith("/data/local-files/?d=images/")
        assert (tmp_path / "out" / unquote(url.partition("d=")[2])).is_file()
        assert task["data"]["wsss_seed"] in url
        found = np.zeros_like(expected)
        for result in task["predictions"][0]["result"]:
            (name,) = result["value"]["brushlabels"]
            assert (result["original_height"], result["original_width"]) == expected.shape
            found[decode_brush(result["value"]["rle"], *expected.shape) == 255] = LABELS[name]
        np.testing.assert_array_equal(found, expected)
    root = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    assert {label.get("value") for label in root.iter("Label")} == LABELS.keys()
    assert len({label.get("background") for label in root.iter("Label")}) == len(LABELS)


def test_images_may_be_anywhere(run, tmp_path):
    export("labelstudio", run, tmp_path / "out", image_url_prefix="s3://bucket/a/")
    for task in json.loads((tmp_path / "out" / "tasks.json").read_text()):
        assert task["data"]["image"].startswith(f"s3://bucket/a/{task['data']['wsss_seed']}.")


@pytest.mark.slow
def test_its_sdk_reads_equal_pixels_and_what_it_writes_comes_back(run, tmp_path):
    python = environment("labelstudio")
    export("labelstudio", run, tmp_path / "out")
    script = Path(__file__).parent / "labelstudio_reads.py"
    found = outside(python, script, tmp_path / "out", tmp_path, cwd=tmp_path)
    assert found["faults"] == []
    assert set(found["labels"]) == LABELS.keys()
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    for task in tasks:
        expected = label_maps()[task["data"]["id"]]
        painted = np.zeros_like(expected)
        for name, alpha in found["maps"][task["data"]["wsss_seed"]].items():
            assert set(np.unique(alpha)) <= {0, 255}
            painted[np.array(alpha) == 255] = LABELS[name]
        np.testing.assert_array_equal(painted, expected)
    result = import_masks("labelstudio", run, tmp_path / "project.json")
    assert (result.changed, result.unchanged, result.without) == ((), len(label_maps()), 0)
