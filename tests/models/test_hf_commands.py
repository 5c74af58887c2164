"""Models of transformers from the command line: the miniatures, converted, do what the bundled ones do."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.models.convert_to_hf import dino_to_hf, sam_to_hf
from tests.small_hf import saved
from wsss_seed.models.grounding_dino import load_grounding_dino
from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    """Folders ``sam`` and ``detector``."""
    root = tmp_path_factory.mktemp("converted")
    config = json.loads((TINY / "detector.json").read_text())
    words = (TINY / "vocab.txt").read_text("utf-8").splitlines()
    saved(root / "detector", *dino_to_hf(load_grounding_dino(TINY).model, config, words))
    saved(root / "sam", *sam_to_hf(load_sam(TINY).model, json.loads((TINY / "sam.json").read_text())))
    return root


def test_seeds_of_converted_models_are_those_of_the_bundled_ones(cli, converted, tmp_path):
    """But for the last digit of a gray value where the libraries resize images."""
    command = ("generate", "--dataset", "toyland", "--images", 4, "--labels", "none", "--json")
    hub = ("--sam", f"hf:{converted / 'sam'}", "--detector", f"hf:{converted / 'detector'}")
    for out, more in (("bundled", ()), ("converted", hub)):
        result = cli(*command, "--out", out, *more)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["evaluation"]["miou"] > 0.4
    same = []
    for path in sorted((tmp_path / "bundled" / "SegmentationClass").glob("*.png")):
        with Image.open(path) as a, Image.open(tmp_path / "converted" / "SegmentationClass" / path.name) as b:
            same.append(np.mean(np.asarray(a) == np.asarray(b)))
    assert len(same) == 4
    assert np.mean(same) > 0.95


def test_mask_proposals_of_a_converted_model(cli, converted, tmp_path):
    command = ("proposals", "--dataset", "toyland", "--images", 2, "--set", "proposals.points_per_side=6", "--json")
    result = cli(*command, "--sam", f"hf:{converted / 'sam'}", "--out", "kept")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["made"] == 2
    assert report["masks"] > 0
