"""The contact sheet by command and from Python, of a run over toyland and one over a folder."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import wsss_seed as ws
from wsss_seed.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sheet") / "seeds"
    done = run("generate", "--dataset", "toyland", "--images", 12, "--sample", 3, "--seed", 4, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def test_a_sample_is_stable_resumed_and_enlarged(seeds):
    masks = sorted(path.stem for path in (seeds / "SegmentationClass").glob("*.png"))
    assert len(masks) == 3
    assert masks != ["test_000000", "test_000001", "test_000002"]
    words = ("generate", "--dataset", "toyland", "--images", 12, "--seed", 4, "--out", seeds, "--json")
    again = json.loads(run(*words, "--sample", 3).stdout)
    assert (again["made"], again["skipped"], again["images"]) == (0, 3, 3)
    more = json.loads(run(*words, "--sample", 4).stdout)
    assert (more["made"], more["skipped"]) == (1, 3)
    both = run(*words, "--sample", 3, "--limit", 3)
    assert "give one of them" in str(both.exception)


def test_the_command_needs_no_dataset(seeds, tmp_path):
    done = run("sheet", seeds, "--out", tmp_path / "sheet.png", "--limit", 2)
    assert done.exit_code == 0, done.output
    assert "2 images, classes: " in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_the_ground_truth_of_toyland_is_that_of_the_run(seeds, tmp_path):
    """It is drawn again with the seed of the run, whatever the seed of the sample."""
    own = ws.open_dataset("toyland", images=12, seed=4)
    known = ws.open_run(seeds).sheet(tmp_path / "known.png", gt=own, sample=2, seed=9)
    done = run("sheet", seeds, "--out", tmp_path / "drawn.png", "--sample", 2, "--seed", 9, "--json")
    assert json.loads(done.stdout)["shown"] == list(known.shown)
    assert (tmp_path / "drawn.png").read_bytes() == (tmp_path / "known.png").read_bytes()
    other = ws.open_dataset("toyland", images=12, seed=5)
    with pytest.raises(ws.RunFolderError, match=r"ground truth of .* pixels in the image"):
        ws.open_run(seeds).sheet(tmp_path / "other.png", gt=other, sample=2, seed=9)


def test_two_truths_are_refused(seeds):
    done = run("sheet", seeds, "--gt", "folder", "--dataset", "voc")
    assert "give one of them" in str(done.exception)
