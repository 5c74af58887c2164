"""The training loop: steps, losses, and checkpoints from which it resumes."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from tests.rounding import ROUNDING
from tests.segmenter.training import refused, run_folder, same, train, weights
from wsss_seed.data import open_dataset
from wsss_seed.segmenter.checkpoint import load_segmenter, read
from wsss_seed.segmenter.train import score


def test_loss_falls_on_few_images(tree, tmp_path):
    train(tree, tmp_path / "out", 60, optimizer__lr=5e-3, optimizer__warmup_iters=0, train__ema_decay=0.0)
    lines = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert lines[0] == "iteration,lr,loss,miou"
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_accumulated_parts_make_one_step(tree, tmp_path):
    steps: list[object] = []
    hook = register_optimizer_step_post_hook(lambda *args: steps.append(args[0]))
    try:
        train(tree, tmp_path / "out", 3, train__gradient_accumulation_steps=2)
    finally:
        hook.remove()
    assert len(steps) == 3
    assert len((tmp_path / "out" / "metrics.csv").read_text().splitlines()) == 4
    assert "`train.batch_size`=3" in refused(tree, tmp_path / "odd", 3, train__gradient_accumulation_steps=3)
    assert "batch normalisation" in refused(tree, tmp_path / "single", 3, train__gradient_accumulation_steps=4)


def test_the_confidence_of_seeds_weighs_their_pixels(tree, tmp_path):
    run = run_folder(tree, tmp_path / "run")
    train(run, tmp_path / "even", 3, train__confidence_weighting=True)
    train(run, tmp_path / "plain", 3)
    # The same weight everywhere is no weight, but for rounding, which the optimizer enlarges where gradients vanish.
    one, two = weights(tmp_path / "even" / "last.pt"), weights(tmp_path / "plain" / "last.pt")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=10 * ROUNDING, atol=ROUNDING)
    for path in (run / "Confidence").glob("*.png"):
        with Image.open(path) as file:
            values = np.array(file)
        values[:, : values.shape[1] // 2] = 0
        Image.fromarray(values).save(path)
    train(run, tmp_path / "half", 3, train__confidence_weighting=True)
    assert not same(tmp_path / "half" / "last.pt", tmp_path / "even" / "last.pt")
    assert "no folder Confidence" in refused(tree, tmp_path / "none", 3, train__confidence_weighting=True)


def test_a_damaged_checkpoint_is_refused_and_kept(tree, tmp_path):
    train(tree, tmp_path / "out", 2)
    path = tmp_path / "out" / "last.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    before = path.read_bytes()
    assert "last.pt" in refused(tree, tmp_path / "out", 2)
    assert path.read_bytes() == before
    train(tree, tmp_path / "out", 2, overwrite=True)
    load_segmenter(path)
    content = torch.load(path, weights_only=True)
    for key in ("about", "iteration", "best", "curve"):
        torch.save({**content, "training": {**content["training"], key: [None]}}, path)
        assert "last.pt: damaged checkpoint; give another `out`" in refused(tree, tmp_path / "out", 2)


@pytest.mark.parametrize("which", [1, 3])
def test_an_interrupted_evaluation_is_repeated(tree, tmp_path, monkeypatch, which):
    """Also the one after the last iteration, whose checkpoint keeps what resuming needs."""
    val = open_dataset("voc", tree, "val", None, "none")
    evaluations: list[int] = []

    def interrupted_once(*args):
        evaluations.append(1)
        if len(evaluations) == which:
            signal.raise_signal(signal.SIGTERM)
        return score(*args)

    whole = train(tree, tmp_path / "whole", 6, val=val, train__eval_interval=2)
    monkeypatch.setattr("wsss_seed.segmenter.train.score", interrupted_once)
    first = train(tree, tmp_path / "out", 6, val=val, train__eval_interval=2)
    assert (first.interrupted, first.iterations) == (True, 2 * which)
    second = train(tree, tmp_path / "out", 6, val=val, train__eval_interval=2)
    assert not second.interrupted
    assert len(evaluations) == 4
    assert (second.best_miou, second.best_iteration) == (whole.best_miou, whole.best_iteration)
    assert same(tmp_path / "out" / "last.pt", tmp_path / "whole" / "last.pt")
    assert same(tmp_path / "out" / "best.pt", tmp_path / "whole" / "best.pt")
    assert (tmp_path / "out" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_the_segmenter_without_its_training_cannot_resume(tree, tmp_path):
    train(tree, tmp_path / "out", 2)
    content = read(tmp_path / "out" / "last.pt")
    del content["training"]
    torch.save(content, tmp_path / "out" / "last.pt")
    assert "cannot resume" in refused(tree, tmp_path / "out", 2)
