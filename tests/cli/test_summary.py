"""What a run says at its end: classes found, what deserves a warning, and the next command."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from wsss_seed.cli import app
from wsss_seed.cli.summary import doubts, next_commands
from wsss_seed.data import open_dataset

GOOD = {"ok": 10, "images_painted": {"cat": 10}, "images_missing": {}, "ignore": 0.1, "background_only": 5}


def totals(**changed):
    return {**GOOD, "ignored_only": 1, **changed}


def test_nothing_to_doubt():
    assert doubts(totals()) == []
    assert doubts(totals(ok=0, background_only=0, ignored_only=0)) == []


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"ignored_only": 2}, "2 of 10 images are entirely ignored"),
        ({"background_only": 6}, "6 of 10 images show none of the classes"),
        ({"ignore": 0.31}, "31.00 % of all pixels are ignored"),
        ({"images_missing": {"cat": 1, "dog": 3}}, "given labels without any pixels: dog in 3 images, cat in 1 image"),
        ({"images_missing": {str(i): 1 for i in range(7)}}, "and 2 more classes"),
    ],
)
def test_what_deserves_a_warning(changed, text):
    [found] = doubts(totals(**changed))
    assert text in found


def test_the_remedy_for_ignored_images_depends_on_labels():
    [without] = doubts(totals(ignored_only=5))
    assert without.endswith("check the class names, or give `labels`")
    given = doubts(totals(ignored_only=5, images_missing={"cat": 5}))
    assert given[0].endswith("no object of their labels was found; add synonyms to the classes")


def test_the_next_command_can_be_pasted():
    text = next_commands(Path("my seeds"), trains=True)
    assert shlex.split(text.removeprefix("next: ").split(",")[0]) == ["wsss-seed", "report", "my seeds"]
    assert "train-seg 'my seeds'" in text
    assert "train-seg" not in next_commands(Path("seeds"), trains=False)
    nothing = next_commands(Path("my seeds"), trains=True, nothing_in="a b")
    assert shlex.split(nothing)[1:5] == ["wsss-seed", "explain", "my seeds", "a b"]
    assert "train-seg" not in nothing


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    world = open_dataset("toyland", images=4)
    for sample in world:
        Image.fromarray(world.image(sample)).save(folder / f"{sample.id}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["generate", "--dataset", "folder", "--models", "tiny", *map(str, arguments)])


def test_a_run_without_ground_truth_says_what_it_found(photographs, tmp_path):
    done = run("--root", photographs, "--classes", "toyland", "--out", tmp_path / "out")
    assert done.exit_code == 0
    recorded = json.loads((tmp_path / "out/run.json").read_text("utf-8"))["totals"]
    assert recorded["images_painted"]
    for name, images in recorded["images_painted"].items():
        [row] = [line for line in done.stdout.splitlines() if line.startswith(f"│ {name} ")]
        assert row.split("│")[2].strip() == str(images)
    assert "Classes found in 4 images" in done.stdout
    assert "images without any class: " in done.stdout
    assert f"next: wsss-seed report {tmp_path / 'out'}" in done.stderr


def test_masks_without_content_are_warned_of(photographs, tmp_path):
    done = run(
        "--root", photographs, "--classes", "giraffe, zebra", "--out", tmp_path / "out", "--set", "assume_present=yes"
    )
    assert "found in no image: giraffe, zebra" in done.stdout
    assert "warning: 4 of 4 images are entirely ignored" in done.stderr
    assert "give --labels" in done.stderr
    assert "train-seg" not in done.stderr, "there is nothing to train on"
    [line] = [line for line in done.stderr.splitlines() if line.startswith("next: ")]
    explained = CliRunner().invoke(app, shlex.split(line)[2:5])
    assert explained.exit_code == 0, "the suggested command works"
    for command, *options in (
        ("export", "yolo", tmp_path / "out", tmp_path / "yolo"),
        ("train-seg", tmp_path / "out", "--recipe", "tiny", "--out", tmp_path / "segmenter"),
    ):
        again = CliRunner().invoke(app, [command, *map(str, options)])
        assert "warning: 4 of 4 images are entirely ignored" in again.stderr


def test_json_has_the_totals(photographs, tmp_path):
    done = run("--root", photographs, "--classes", "toyland", "--out", tmp_path / "out", "--json")
    found = json.loads(done.stdout)["totals"]
    assert found == json.loads((tmp_path / "out/run.json").read_text("utf-8"))["totals"]
