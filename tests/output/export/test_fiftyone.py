"""A dataset of FiftyOne, read as it is defined, and by its importer in its own environment, without a database."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.editors import environment, in_use, outside
from tests.output.odd_run import NAMES, NOISE, label_maps
from wsss_seed.output.export import export
from wsss_seed.output.finished import open_run
from wsss_seed.output.imports import import_masks
from wsss_seed.output.report.evidence import Box, Evidence


def test_samples_name_masks_confidence_scores_and_boxes(run, tmp_path):
    box = Box("cat", (6.0, 4.0, 36.0, 24.0), 0.5, None, 0.25, "dropped", "below the threshold")
    boxes = {"ring": Evidence((box,))}
    evidence_of = lambda record: boxes.get(record.id, Evidence())  # noqa: E731
    out = tmp_path / "out"
    export("fiftyone", run, out, evidence_of=evidence_of)
    samples = json.loads((out / "samples.json").read_text())["samples"]
    assert [sample["run_id"] for sample in samples] == list(label_maps())
    for sample in samples:
        with Image.open(out / sample["mask"]["mask_path"]) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.array(image), label_maps()[sample["run_id"]])
        with Image.open(out / sample["confidence"]["map_path"]) as image:
            np.testing.assert_array_equal(np.array(image), open_run(run).confidence(sample["run_id"]))
        assert (out / sample["filepath"]).is_file()
        assert [c["confidence"] for c in sample["scores"]["classifications"]] == [0.5] * len(
            set(np.unique(label_maps()[sample["run_id"]])) - {0, 255}
        )
        assert sample["ignored"] == pytest.approx((label_maps()[sample["run_id"]] == 255).mean(), abs=1e-4)
    ring, noise = (next(s for s in samples if s["run_id"] == id) for id in ("ring", NOISE))
    (found,) = ring["boxes"]["detections"]
    assert found["bounding_box"] == [0.1, 0.1, 0.5, 0.5]
    assert (found["label"], found["confidence"], found["why"]) == ("cat", 0.5, "below the threshold")
    assert noise["boxes"]["detections"] == []
    assert (out / ring["filepath"]).is_symlink()
    info = json.loads((out / "metadata.json").read_text())["info"]
    assert info["default_classes"] == list(NAMES)
    assert info["default_mask_targets"]["255"] == "ignore"


def test_masks_without_confidence_are_exported(run, tmp_path):
    (run / "Confidence" / "ring.png").unlink()
    export("fiftyone", run, tmp_path / "out")
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert ["confidence" in sample for sample in samples] == [id != "ring" for id in label_maps()]


@pytest.mark.slow
def test_its_importer_reads_equal_pixels_and_what_it_writes_comes_back(run, tmp_path):
    python = environment("fiftyone")
    export("fiftyone", run, tmp_path / "out")
    (tmp_path / "work").mkdir()
    script = Path(__file__).parent / "fiftyone_reads.py"
    found = outside(python, script, tmp_path / "out", tmp_path / "work", cwd=tmp_path)
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    for sample in samples:
        name, id = sample["wsss_seed"], sample["run_id"]
        np.testing.assert_array_equal(found["masks"][name], label_maps()[id])
        assert found["means"][name] == pytest.approx(open_run(run).confidence(id).mean())
    assert (
        found["fields"].items()
        >= {
            "mask": "Segmentation",
            "confidence": "Heatmap",
            "scores": "Classifications",
            "boxes": "Detections",
            "wsss_seed": "str",
        }.items()
    )
    assert found["targets"]["1"] == NAMES[0]
    expected = label_maps()["ring"]
    expected[:3, :5] = 255
    dry = import_masks("fiftyone", run, tmp_path / "work" / "arrays.json", dry_run=True)
    assert (dry.changed, dry.unchanged) == (("ring",), len(label_maps()) - 1)
    result = import_masks("fiftyone", run, tmp_path / "work")
    assert (result.changed, result.unchanged) == (("ring",), len(label_maps()) - 1)
    np.testing.assert_array_equal(in_use(run, "ring"), expected)
    assert import_masks("fiftyone", run, tmp_path / "work" / "arrays.json").changed == ()
