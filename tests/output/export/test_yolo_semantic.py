"""Masks of YOLO's semantic task: values are labels, and ultralytics, in its own environment, trains with them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from tests.output.editors import environment, outside
from tests.output.odd_run import CLASSES, NAMES, label_maps
from wsss_seed.data.voc import Voc
from wsss_seed.output.export import export
from wsss_seed.output.export.parts import flat_names


@pytest.mark.parametrize("validated", [True, False])
def test_masks_are_the_label_maps(run, tmp_path, validated):
    out = tmp_path / "out"
    export("yolo-semantic", run, out, validation=Voc(run, CLASSES) if validated else None)
    data = yaml.safe_load((out / "data.yaml").read_text("utf-8"))
    assert data == {
        "train": "images/train",
        "val": "images/val" if validated else "images/train",
        "masks_dir": "masks",
        "names": dict(enumerate(("background", *NAMES))),
    }
    names = flat_names(label_maps())
    for part in ("train", "val")[: 1 + validated]:
        for id, labels in label_maps().items():
            path = out / "masks" / part / f"{names[id]}.png"
            assert list((out / "images" / part).glob(f"{names[id]}.*"))
            np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_ANYDEPTH), labels)
            with Image.open(path) as image:
                assert image.mode == "L"


@pytest.mark.slow
def test_ultralytics_reads_equal_pixels_ignores_255_and_trains(run, tmp_path):
    python = environment("ultralytics")
    export("yolo-semantic", run, tmp_path / "out", copy=True)
    script = Path(__file__).parent / "yolo_semantic_reads.py"
    found = outside(python, script, tmp_path / "out", tmp_path / "work", cwd=tmp_path)
    assert found["type"] == "SemanticDataset"
    assert list(found["names"].values()) == ["background", *NAMES]
    names = flat_names(label_maps())
    large = {id: labels for id, labels in label_maps().items() if min(labels.shape) >= 10}  # it reads no smaller ones
    assert found["maps"].keys() == {names[id] for id in large}
    for id, labels in large.items():
        np.testing.assert_array_equal(found["maps"][names[id]], labels)
    assert found["ignored_with_gradient"] == found["others_without_gradient"] == 0
    assert found["losses"]["train/ce_loss"] > 0
    assert np.isfinite(list(found["losses"].values())).all()
