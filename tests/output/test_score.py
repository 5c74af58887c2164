"""The score that a run keeps: what it says, and when it no longer counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.data.corrected import decide
from tests.output.odd_run import label_maps, write_run
from wsss_seed.evaluation.evaluate import evaluate
from wsss_seed.io.png import write_mask
from wsss_seed.output.run_folder import read_run
from wsss_seed.output.score import EVALUATION, read_score, score_of, write_score


@pytest.fixture
def scored(tmp_path):
    """A run, and its evaluation against ground truth that differs from one of its masks."""
    run = write_run(tmp_path / "run", tmp_path / "photos", broken=False)
    for id, labels in label_maps().items():
        truth = np.where(labels == 1, 2, labels).astype(np.uint8) if id == "ring" else labels
        write_mask(tmp_path / "gt" / f"{id}.png", truth, [(0, 0, 0)] * 256)
    return run, evaluate(run, tmp_path / "gt")


def test_a_score_comes_back_in_words(scored):
    run, evaluation = scored
    about = read_run(run)
    score = score_of(run, about, evaluation, "drawings", True)
    write_score(run, score)
    assert read_score(run, about) == score
    found = {policy: f"{100 * value:.1f} %" for policy, value in evaluation.miou_by_policy.items()}
    assert str(score) == (
        f"mIoU {found['background']} over {len(label_maps())} images of drawings with ignored pixels as background "
        f"({found['wrong']} as errors, {found['skip']} excluded); {100 * evaluation.coverage:.1f} % of the pixels are "
        "not ignored"
    )


def test_only_whole_evaluations_of_finished_runs_are_scores(scored):
    run, evaluation = scored
    about = read_run(run)
    assert score_of(run, about | {"finished": None}, evaluation, "x", True) is None
    assert score_of(run, about, replace(evaluation, miou=None), "x", True) is None
    assert score_of(run, about, replace(evaluation, unfinished=3), "x", True) is None


def test_other_masks_or_decisions_end_a_score(scored):
    run, evaluation = scored
    about = read_run(run)
    write_score(run, score_of(run, about, evaluation, "x", True))
    assert read_score(run, about | {"finished": None}) is None
    assert read_score(run, about) is not None
    manifest = (run / "manifest.jsonl").read_bytes()
    (run / "manifest.jsonl").write_bytes(manifest + b"\n")
    assert read_score(run, about) is None
    (run / "manifest.jsonl").write_bytes(manifest)
    assert read_score(run, about) is not None
    decide(run, "ring")
    assert read_score(run, about) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 5000])
def test_a_damaged_file_is_no_score(scored, content):
    run, evaluation = scored
    about = read_run(run)
    assert read_score(run, about) is None
    write_score(run, score_of(run, about, evaluation, "x", True))
    (run / EVALUATION).write_bytes(content)
    assert read_score(run, about) is None


def test_a_policy_of_another_version_is_no_score(scored):
    run, evaluation = scored
    about = read_run(run)
    write_score(run, score_of(run, about, evaluation, "x", True))
    path = run / EVALUATION
    path.write_text(path.read_text().replace('"skip"', '"other"'))
    assert read_score(run, about) is None
