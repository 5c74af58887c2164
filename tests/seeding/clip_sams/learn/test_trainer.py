"""The loop of prompt learning, with a small random CLIP."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.seeding.clip_sams.learn.painted import settings, source
from wsss_seed.data.classes import load_class_set
from wsss_seed.seeding.clip_sams.learn.trainer import first_contexts, learn

CLASSES = replace(load_class_set("house, tree, car"), background=("grass", "sky"))


def run(clip, path, task="cls", data=None, **values):
    about = {"task": task, **values}
    return learn(
        task, clip, CLASSES, data or source(seeds=task == "seg"), settings(**values), path=path / task, about=about
    )


def test_first_contexts(clip):
    """Shared or per prompt, empty background names, distinct from the start."""
    shared = first_contexts(clip, CLASSES, settings().context, 0)
    assert shared.vectors.shape == (4, 32)
    assert shared.names == ("house", "tree", "car", "grass", "sky")
    s = settings(
        context__class_specific=True,
        context__class_token_position="front",
        context__background="empty",
        context__init_std=0.0125,
    )
    own = first_contexts(clip, CLASSES, s.context, 0)
    assert own.vectors.shape == (5, 4, 32)
    assert own.names == ("house", "tree", "car", "", "")
    assert own.vectors.std() == pytest.approx(0.0125, rel=0.1)
    assert not torch.equal(own.vectors[3], own.vectors[4])
    assert torch.equal(own.vectors, first_contexts(clip, CLASSES, s.context, 0).vectors)
    assert not torch.equal(own.vectors, first_contexts(clip, CLASSES, s.context, 1).vectors)


@pytest.mark.parametrize("task", ["cls", "seg"])
def test_what_is_learned_lowers_the_loss(clip, tmp_path, task):
    values = {"train__max_iters": 40, "train__batch_size": 6, "train__lr": 0.5 if task == "cls" else 20.0}
    if task == "seg":
        values |= {"context__class_specific": True, "train__labels": "crop"}
    curve = run(clip, tmp_path, task, **values).progress.curve
    total = np.sum([v for k, v in curve.items() if k.startswith("loss")], 0)
    assert len(total) == 40
    assert total[-10:].mean() < 0.9 * total[:10].mean()


@pytest.mark.parametrize("task", ["cls", "seg"])
def test_interrupted_at_any_iteration_and_resumed_it_is_the_same(clip, tmp_path, task):
    whole = run(clip, tmp_path / "whole", task)
    assert not whole.interrupted
    for stop in (1, 5):

        def step(iteration, losses, stop=stop):
            if iteration == stop:
                raise KeyboardInterrupt

        path = tmp_path / f"stopped{stop}" / task
        about, data = {}, source(seeds=task == "seg")
        first = learn(task, clip, CLASSES, data, settings(), path=path, about=about, step=step)
        assert first.interrupted
        assert first.progress.iteration == stop
        second = learn(task, clip, CLASSES, data, settings(), path=path, about=about)
        assert torch.equal(second.contexts.vectors, whole.contexts.vectors)
        assert second.progress.curve == whole.progress.curve


def test_a_finished_run_is_not_begun_again(clip, tmp_path):
    whole = run(clip, tmp_path)
    steps = []
    again = learn(
        "cls", clip, CLASSES, source(), settings(), path=tmp_path / "cls", about={"task": "cls"},
        step=lambda *a: steps.append(a),
    )  # fmt: skip
    assert not steps
    assert torch.equal(again.contexts.vectors, whole.contexts.vectors)


def test_it_stops_where_the_recipe_stops(clip, tmp_path):
    """COCO's schedule is that of 20500 iterations, of which 6150 are done."""
    whole, part = run(clip, tmp_path / "a"), run(clip, tmp_path / "b", train__stop_iter=5)
    assert part.progress.iteration == 5
    assert part.progress.curve["lr"] == whole.progress.curve["lr"][:5]
    assert part.progress.curve["loss"] == whole.progress.curve["loss"][:5]


def test_micro_batches_are_averaged(clip, tmp_path):
    """With one class an image the mean of two micro-batches' means is the mean of the batch."""
    one = run(clip, tmp_path / "a", train__batch_size=4)
    two = run(clip, tmp_path / "b", train__batch_size=2, train__gradient_accumulation_steps=2)
    torch.testing.assert_close(one.contexts.vectors, two.contexts.vectors, rtol=1e-3, atol=5e-5)
    assert one.progress.curve["loss"] == pytest.approx(two.progress.curve["loss"], rel=1e-4)


def test_nothing_to_learn_from_changes_nothing_but_the_decay(clip, tmp_path):
    """Every image has every class, or none can be read: the loss is 0 and nothing breaks."""
    data = source(broken=range(6))
    for task in ("cls", "seg"):
        out = run(
            clip, tmp_path, task, replace(data, label_map=source(seeds=True).label_map if task == "seg" else None)
        )
        assert set(np.ravel([v for k, v in out.progress.curve.items() if k.startswith("loss")])) == {0.0}
        assert torch.isfinite(out.contexts.vectors).all()
