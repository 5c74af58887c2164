"""``wsss-seed calibrate``: from a few images to a file for ``generate --config``."""

from __future__ import annotations

import json
import tomllib

import pytest
from PIL import Image

import wsss_seed as ws
from wsss_seed.io.png import write_mask
from wsss_seed.run import calibrate as room

GRID = {"detector.box_threshold": [0.2, 0.5], "mask.min_region_area": [8, 100]}


@pytest.fixture
def photos(tmp_path):
    """Photographs of toyland with ground truth beside them."""
    world = ws.open_dataset("toyland", split="val", images=21)
    (tmp_path / "photos").mkdir()
    for sample in world:
        Image.fromarray(world.image(sample)).save(tmp_path / "photos" / f"{sample.id}.png")
    for sample in world.samples[:20]:  # one of them is not annotated
        write_mask(tmp_path / "gt" / f"{sample.id}.png", world.mask(sample), world.class_set.palette)
    names = "".join(f"{name}\n" for name in (*world.class_set.names, "zebra"))
    (tmp_path / "classes.txt").write_text(names)
    return world


def test_from_annotated_photographs_to_settings(cli, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "GRID", GRID)
    where = ("--dataset", "folder", "--root", "photos", "--classes", "classes.txt", "--models", "tiny")
    start = ("--set", "verify.min_side=16", "--from", "defaults")
    (tmp_path / "photos" / "labels.csv").write_text(f"image,label\n{photos[0].id}.png,house\nnobody.png,car\n")
    done = cli("calibrate", *where, "--gt", "gt", *start, "--out", "my.toml", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["images"] == 20
    assert "no image shows zebra" in done.stderr
    assert "1 entry names no image of this dataset (nobody.png)" in done.stderr
    written = tomllib.loads((tmp_path / "my.toml").read_text())
    assert written["settings"] == result["settings"]
    assert written["settings"]["verify.min_side"] == 16
    seeded = cli("generate", *where, "--config", "my.toml", "--limit", 1, "--device", "cpu", "--out", "run")
    assert seeded.returncode == 0, seeded.stderr
    backend = json.loads((tmp_path / "run" / "run.json").read_bytes())["settings"]["backend"]
    assert backend.items() >= written["settings"].items()


def test_one_line_for_what_cannot_be_done(cli):
    def failure(*arguments: object) -> str:
        done = cli("calibrate", "--dataset", "toyland", "--split", "val", "--device", "cpu", *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "calibrating needs at least 20" in failure("--images", 5, "--out", "my.toml")
    assert "expected set or defaults" in failure("--from", "scratch", "--out", "my.toml")
    assert "choose another --out" in failure("--out", "no/such/folder/my.toml")
    assert "only dino-sam and sam3 can be calibrated" in failure("--backend", "clip-sams", "--out", "my.toml")
