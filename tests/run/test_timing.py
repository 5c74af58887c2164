"""Measured times; that they are right is for the eye, since no test should depend on the load of a machine."""

import numpy as np

from wsss_seed.models.zoo import ModelSet
from wsss_seed.run import timing
from wsss_seed.run.timing import time_models


def test_every_model_of_a_set_is_measured():
    times = time_models(ModelSet("tiny", "cpu"))
    assert [(t.role, t.name, t.untrained) for t in times] == [
        ("clip", "tiny", False), ("sam", "tiny", False), ("detector", "tiny", False),
    ]  # fmt: skip
    assert all(t.seconds > 0 for t in times)


def test_a_model_that_is_not_there_is_measured_with_random_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    worked = []
    monkeypatch.setattr(timing, "_work", lambda role, model, image: worked.append((role, image.shape)))
    clip, *others = time_models(ModelSet("tiny", "cpu", clip="ViT-B-32-256:datacomp_s34b_b86k"))
    assert clip.untrained
    assert not any(t.untrained for t in others)
    assert set(worked) == {(role, (375, 500, 3)) for role in ("clip", "sam", "detector")}


def test_a_run_that_takes_long_is_not_repeated(monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(now)))
    images: list[np.ndarray] = []
    assert timing._seconds(images.append, "cpu") == 10.0
    assert len(images) == 1
    monkeypatch.setattr(timing.time, "perf_counter", iter(np.arange(0, 100, 0.5).tolist()).__next__)
    assert timing._seconds(images.append, "cpu") == 0.5
    assert len({id(image) for image in images}) == 5
