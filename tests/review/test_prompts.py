"""SAM for clicks: encoded once, a few images kept."""

import numpy as np
import pytest

from wsss_seed.errors import CheckpointError, UsageError
from wsss_seed.models.sam import load_sam as load_model
from wsss_seed.models.zoo import TINY
from wsss_seed.review.prompts import PromptedSam, load_sam, run_lengths, sam_name


@pytest.fixture(scope="module")
def model():
    return load_model(TINY)


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def test_an_image_is_encoded_once(model):
    read = []
    sam = PromptedSam(lambda: model, kept=2)

    def source(key):
        return lambda: (read.append(key), image())[1]

    assert [sam.encode(key, source(key)) for key in (1, 2, 1, 3, 1, 2)] == [True, True, False, True, False, True]
    sam.segment(1, source(1), [(10, 10)], [True], None)
    assert read == [1, 2, 3, 2]


def test_masks_are_those_of_the_model(model):
    sam = PromptedSam(lambda: model)
    found = sam.segment("a", image, [(20, 10)], [True], None)
    embedding = model.embed(image())
    want = model.decode_prompt(embedding, np.array([[20.0, 10]]), np.array([True]))
    order = want.iou[0].argsort(descending=True)
    assert found.scores == tuple(want.iou[0][order].tolist())
    assert np.array_equal(found.masks, (model.logits(embedding, want.low_res)[0][order] > 0).numpy())
    both = sam.segment("a", image, [(20, 10), (3, 3)], [True, False], (5, 5, 40, 40))
    assert both.masks.shape == (1, 48, 64)


def test_a_prompt_needs_something(model):
    with pytest.raises(UsageError, match="points or a box"):
        PromptedSam(lambda: model).segment("a", image, [], [], None)


def test_the_sam_of_a_run():
    about = {"weights": {"sam": {"name": "vit_b", "sha256": None}}}
    assert sam_name(about, None) == "vit_b"
    assert sam_name(about, "vit_h") == "vit_h"
    assert [sam_name(broken, None) for broken in ({}, {"weights": None}, {"weights": {"sam": {"name": 3}}})] == [""] * 3


def test_a_sam_that_cannot_be_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="names no SAM"):
        load_sam("", "cpu")
    with pytest.raises(UsageError, match="wsss-seed models pull vit_h"):
        load_sam("vit_h", "cpu")
    with pytest.raises(CheckpointError, match="no such file"):
        load_sam(str(tmp_path / "none.pth"), "cpu")
    assert load_sam("tiny", "cpu").device.type == "cpu"


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths(seed):
    mask = np.random.default_rng(seed).random((7, 9)) < 0.4
    for some in (mask, ~mask, np.zeros_like(mask), np.ones_like(mask)):
        lengths = run_lengths(some)
        values = np.concatenate([np.full(n, k % 2, bool) for k, n in enumerate(lengths)])
        assert np.array_equal(values.reshape(some.shape), some)
        assert all(lengths[1:])
