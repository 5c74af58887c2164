"""``wsss-seed explain``."""

import json

import pytest
from PIL import Image


@pytest.fixture
def seeded(cli):
    done = cli(
        "generate", "--dataset", "toyland", "--difficulty", "hard", "--images", 2, "--labels", "none", "--out", "run"
    )
    assert done.returncode == 0


def test_tables_and_picture(cli, seeded, tmp_path):
    done = cli("explain", "run", "test_000001.jpg", "--out", "why.png")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run/manifest.jsonl").read_text("utf-8").splitlines()[1])
    for number, box in enumerate(record["evidence"]["detections"], 1):
        assert f"\n{number} {box['class']}, " in done.stdout
        assert f" {box['score']:.3f} " in done.stdout
    assert "nms.iou_threshold 0.7" in done.stdout
    assert done.stdout.endswith("picture: why.png\n")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"


def test_json(cli, seeded):
    found = json.loads(cli("explain", "run", "test_000001", "--json").stdout)
    assert found["id"] == "test_000001"
    assert found["picture"] is None
    assert all(box["why"] for box in found["boxes"])


def test_errors_are_one_line(cli, seeded):
    for arguments, text in (
        (("run", "tset_000001"), "the most similar: test_000001"),
        (("run", "test_000001", "--out", "why.tif"), "give --out the name of a .png or .jpg file"),
        (("run", "test_000001", "--out", "run/run.json/why.png"), "cannot be written"),
        (("nowhere", "test_000001"), "not a run folder"),
    ):
        done = cli("explain", *arguments)
        assert done.returncode == 2
        assert text in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_failed_image(cli, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.png").write_bytes(b"no image")
    cli(
        "generate",
        "--dataset",
        "folder",
        "--root",
        "photos",
        "--classes",
        "toyland",
        "--models",
        "tiny",
        "--out",
        "run",
    )
    done = cli("explain", "run", "b.png")
    assert done.returncode == 0
    assert done.stdout.startswith("b failed: ")
    assert done.stdout.count("\n") == 1
    assert cli("explain", "run", "b", "--out", "b.jpg").returncode == 2
