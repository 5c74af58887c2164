"""Recorded models: the miniatures are run once, and the recorded outputs are their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_hf import sam3, saved
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.errors import ImageError
from wsss_seed.models.outputs import SCORE_FLOOR, ModelOutputs
from wsss_seed.models.recorder import Memory, kept_models, recorded
from wsss_seed.models.zoo import ModelSet

CLASSES = load_class_set("toyland")
WORLD = Toyland(CLASSES, "test", 1)
IMAGE = WORLD.image(WORLD[0])
BOXES = np.array([[10, 5, 60.5, 70], [0, 0, 100, 90], [30, 30, 42, 44]], np.float32)


@pytest.fixture(scope="module")
def real():
    return ModelSet("tiny", "cpu")


@pytest.fixture
def memory():
    return Memory(outputs=ModelOutputs("image"), name="photo")


def silent(memory: Memory):
    """Models with recorded outputs only."""
    return kept_models(replace(memory, asks=False), "cpu")


def test_models_are_loaded_on_first_use(memory):
    models = ModelSet("tiny", "cpu")
    own = recorded(models, memory)
    assert own.settings("dino-sam") == models.settings("dino-sam")
    own.sam.embed(IMAGE)
    assert not {"clip", "sam", "detector"} & models.__dict__.keys()
    own.clip.encode_text(["a cat"])
    assert {"clip", "sam", "detector"} & models.__dict__.keys() == {"clip"}


def test_clip(real, memory):
    own = recorded(real, memory)
    texts = ["a photo of a cat.", "sky"]
    for models in (own, own, silent(memory)):
        assert torch.equal(models.clip.encode_text(texts), real.clip.encode_text(texts))
        assert torch.equal(models.clip.encode_views(IMAGE, BOXES), real.clip.encode_views(IMAGE, BOXES))
    assert torch.equal(
        silent(memory).clip.encode_views(IMAGE, BOXES[[2, 0]]), real.clip.encode_views(IMAGE, BOXES)[[2, 0]]
    )
    for ask in (
        lambda: silent(memory).clip.encode_views(IMAGE, BOXES + 1),
        lambda: silent(memory).clip.encode_text(texts[:1]),
    ):
        with pytest.raises(ImageError, match="photo: these settings need"):
            ask()


def test_clip_s_logit_scale(real, memory):
    with pytest.raises(ImageError, match="CLIP's logit scale"):
        _ = silent(memory).clip.logit_scale
    recorded(real, memory).clip.encode_text(["sky"])
    assert silent(memory).clip.logit_scale == real.clip.logit_scale
    assert recorded(real, Memory()).clip.logit_scale == real.clip.logit_scale


def phrases(*names: str) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("names", [("house", "tree", "car"), ("tree",)])
def test_detector(real, memory, names, joint):
    whole = real.detector.detect(IMAGE, phrases(*names), joint=joint)
    rows = whole.scores >= SCORE_FLOOR
    assert 0 < rows.sum() < len(rows)
    for models in (recorded(real, memory), silent(memory)):
        found = models.detector.detect(IMAGE, phrases(*names), joint=joint)
        for ours, theirs in zip(found, whole, strict=True):
            assert np.array_equal(ours, theirs[rows])


def test_classes_without_a_common_caption_are_recorded_separately(real, memory):
    recorded(real, memory).detector.detect(IMAGE, phrases("house", "tree", "car"), joint=False)
    models = silent(memory)
    some = models.detector.detect(IMAGE, phrases("car", "house"), joint=False)
    whole = real.detector.detect(IMAGE, phrases("car", "house"), joint=False)
    assert np.array_equal(some.class_scores, whole.class_scores[whole.scores >= SCORE_FLOOR])
    with pytest.raises(ImageError, match="boxes of 'car, house'"):
        models.detector.detect(IMAGE, phrases("car", "house"), joint=True)
    with pytest.raises(ImageError, match="boxes of 'cup'"):
        models.detector.detect(IMAGE, phrases("car", "cup"), joint=False)


@pytest.mark.parametrize("multimask", [False, True])
def test_sam(real, memory, multimask):
    embedding = real.sam.embed(IMAGE)
    whole = real.sam.decode_boxes(embedding, BOXES, multimask=multimask)
    logits = real.sam.logits(embedding, whole.low_res)
    own = recorded(real, memory)
    first = own.sam.decode_boxes(own.sam.embed(IMAGE), BOXES, multimask=multimask)
    assert torch.equal(first.low_res, whole.low_res)
    models = silent(memory)
    again = models.sam.decode_boxes(models.sam.embed(IMAGE), BOXES, multimask=multimask)
    assert torch.equal(again.iou, whole.iou)
    found = models.sam.logits(models.sam.embed(IMAGE), again.low_res)
    assert found.shape == logits.shape
    for box, ours, theirs in zip(BOXES.astype(int), found, logits, strict=True):
        x0, y0, x1, y1 = box
        assert torch.equal(ours[:, y0:y1, x0:x1], theirs[:, y0:y1, x0:x1])
    with pytest.raises(ImageError, match="SAM's masks of other boxes"):
        models.sam.decode_boxes(models.sam.embed(IMAGE), BOXES, multimask=not multimask)


def test_sam3(memory, tmp_path):
    """Its objects and masks; a lower threshold later asks nothing."""
    real = ModelSet("tiny", "cpu", sam=f"hf:{saved(tmp_path, *sam3())}").sam3
    own = recorded(ModelSet("tiny", "cpu", sam=f"hf:{tmp_path}"), memory)
    embedding = real.embed(IMAGE)
    whole = real.ask(embedding, "cat", SCORE_FLOOR)
    least = float(np.median(whole.scores))
    assert len(whole.scores) > 2
    own.sam3.ask(own.sam3.embed(IMAGE), "cat", least)
    for models in (own, silent(memory)):
        for threshold in (SCORE_FLOOR, least):
            theirs = real.ask(embedding, "cat", threshold)
            ours = models.sam3.ask(models.sam3.embed(IMAGE), "cat", threshold)
            assert np.array_equal(ours.boxes, theirs.boxes)
            assert np.array_equal(ours.scores, theirs.scores)
            pairs = zip(
                ours.boxes.astype(int),
                models.sam3.logits(models.sam3.embed(IMAGE), ours.low_res),
                real.logits(embedding, theirs.low_res),
                strict=True,
            )
            for (x0, y0, x1, y1), found, expected in pairs:
                assert torch.equal(found[y0:y1, x0:x1], expected[y0:y1, x0:x1])
    with pytest.raises(ImageError, match="need masks of 'dog'"):
        silent(memory).sam3.ask(None, "dog")
