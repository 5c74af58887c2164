"""Scores go to the cards of runs, and nowhere else."""

from __future__ import annotations

import shutil

import pytest

import wsss_seed as ws
from tests.output.odd_run import content
from wsss_seed.output.score import EVALUATION, read_score
from wsss_seed.output.scored import record_score

IMAGES = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "seeds"
    ws.generate("toyland", out=out, images=IMAGES, models="tiny", device="cpu", progress=False)
    return out


def test_an_evaluated_run_has_its_figures_in_the_card(made, tmp_path):
    run = tmp_path / "seeds"
    shutil.copytree(made, run, symlinks=True)
    found = ws.open_run(run).evaluate()
    figure = f"mIoU {100 * found.miou:.1f} % over {IMAGES} images of toyland test"
    assert f"Masks of the run: {figure} with ignored pixels as background" in (run / "README.md").read_text()
    before = (run / "README.md").read_text()
    again = ws.generate("toyland", out=run, images=IMAGES, models="tiny", device="cpu", progress=False)
    assert (again.result.made, (run / "README.md").read_text()) == (0, before)  # nothing was made, so it still counts
    ws.generate("toyland", out=run, images=IMAGES + 1, models="tiny", device="cpu", progress=False)
    assert "None: no comparison with ground truth" in (run / "README.md").read_text()
    assert read_score(run, ws.open_run(run).content.about) is None


def test_a_readme_of_ones_own_stays(made, tmp_path):
    run = tmp_path / "seeds"
    shutil.copytree(made, run, symlinks=True)
    (run / "README.md").write_text("mine")
    ws.open_run(run).evaluate()
    assert (run / "README.md").read_text() == "mine"
    assert (run / EVALUATION).exists()


def test_a_folder_that_is_no_run_is_left_alone(made, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(made / "SegmentationClass", masks)
    before = content(masks)
    world = ws.open_dataset("toyland", images=IMAGES)
    from wsss_seed.evaluation.evaluate import evaluate

    record_score(masks, evaluate(masks, world), world, corrected=True)
    assert content(masks) == before
