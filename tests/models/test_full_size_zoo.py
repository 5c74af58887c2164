"""Every checkpoint of the zoo in its full configuration, with random weights in its publisher's format."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.models.random_checkpoints import place
from wsss_seed.data import open_dataset
from wsss_seed.models.checkpoints import Checkpoint, find_checkpoint, known_checkpoints
from wsss_seed.models.zoo import ModelSet, model_sets

pytestmark = pytest.mark.slow

CHECKPOINTS = known_checkpoints()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tmp_path / "home"
    shutil.rmtree(tmp_path / "home", ignore_errors=True)  # gigabytes
    gc.collect()


@pytest.mark.parametrize("c", CHECKPOINTS, ids=[c.name for c in CHECKPOINTS])
def test_every_entry_is_loaded_by_its_name(c: Checkpoint, home: Path):
    want = place(c, home)
    # As large as the published file: nothing of the configuration is left out.
    assert c.path().stat().st_size == pytest.approx(c.files[0].size, rel=0.01)
    models = ModelSet("tiny", "cpu", offline=True, **{c.role: c.name})
    assert models.names[c.role] == c.name
    model = getattr(models, c.role).model
    assert models.seen("coco") == []  # of the entry as placed
    # The detector's loader puts what remembers features around backbone and BERT.
    got = {
        k.replace("backbone.joiner.", "backbone.").replace("bert.bert.", "bert."): v
        for k, v in model.state_dict().items()
    }
    names = [k for k, v in want.items() if v.is_floating_point()]
    assert len(names) > 150
    for name in names:
        torch.testing.assert_close(got[name], want[name].float(), rtol=0, atol=0)


def test_photographs_run_through_the_base_set_without_a_network(program, real_data: Path, home: Path, tmp_path: Path):
    for role, name, _ in model_sets()["base"].models():
        place(find_checkpoint(role, name), home, seen=("voc",) if role == "detector" else ())
    env = {"WSSS_SEED_HOME": str(home), "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    command = ("generate", "--dataset", "voc", "--root", real_data / "voc", "--split", "train")
    # What weights without training say is about the same everywhere, so the thresholds must let anything pass.
    command += (
        "--models",
        "base",
        "--offline",
        "--limit",
        2,
        "--set",
        "detector.box_threshold=0",
        "--set",
        "verify.enabled=false",
    )
    result = program(*command, "--out", "seeds", "--json", env=env, timeout=1500)
    assert result.returncode == 0, result.stderr
    assert "swint_ogc was trained on annotations of voc" in result.stderr
    report = json.loads(result.stdout)
    assert report["made"] == report["evaluation"]["images"] == 2
    for sample in list(open_dataset("voc", real_data / "voc", "train"))[:2]:
        with (
            Image.open(sample.image) as image,
            Image.open(tmp_path / f"seeds/SegmentationClass/{sample.id}.png") as mask,
        ):
            assert mask.size == image.size
    described = json.loads((tmp_path / "seeds" / "run.json").read_text())
    assert described["weights"] == ModelSet("base", "cpu").weights()
    lines = [json.loads(line) for line in (tmp_path / "seeds" / "manifest.jsonl").read_text().splitlines()]
    assert all(line["evidence"]["detections"] for line in lines)
