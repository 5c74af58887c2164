"""Models with replaced answers still run, and what follows finds a typical photograph."""

from copy import copy

import numpy as np
import pytest
import torch

from tests.small_hf import picture
from wsss_seed.models.typical import CLASSES, OBJECTS, answer_typically
from wsss_seed.models.zoo import ModelSet
from wsss_seed.proposals.generate import generate_proposals

IMAGE = picture(90, 120)


@pytest.fixture(scope="module")
def models() -> ModelSet:
    return ModelSet("tiny", "cpu")


def test_boxes_of_a_detector(models):
    detector = copy(models.detector)
    answer_typically("detector", detector)
    found = detector.detect(IMAGE, [("cat",), ("dog",), ("tree", "bush"), ("car",)], joint=True)
    assert found.boxes.shape == (OBJECTS, 4)
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes <= [120, 90, 120, 90]).all()
    assert set(found.class_scores.argmax(1)) == set(range(CLASSES))
    np.testing.assert_array_equal(found.class_scores.max(1), found.scores)
    assert detector.detect(IMAGE, [("cat",)], joint=False).class_scores.shape == (OBJECTS, 1)
    assert not len(detector.detect(IMAGE, []).boxes)
    assert "detect" not in vars(models.detector)


def test_a_detector_that_fails_still_fails(models):
    detector = copy(models.detector)
    detector.detect = lambda *_, **__: 1 / 0
    answer_typically("detector", detector)
    with pytest.raises(ZeroDivisionError):
        detector.detect(IMAGE, [("cat",)])


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_of_boxes_fill_them(models, multimask):
    sam = copy(models.sam)
    answer_typically("sam", sam)
    boxes = np.array([[10, 20, 60, 80], [70.0, 5, 110, 40]])
    embedding = sam.embed(IMAGE)
    found = sam.decode_boxes(embedding, boxes, multimask=multimask)
    assert found.low_res.shape[:2] == found.iou.shape == (2, 3 if multimask else 1)
    for box, logits in zip(boxes, sam.logits(embedding, found.low_res[:, 0]).numpy(), strict=True):
        rows, columns = np.nonzero(logits > 0)
        cell = 120 / found.low_res.shape[-1]
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(seen, box, atol=2 * cell)


def test_proposals_pass_the_default_filters(models):
    sam = copy(models.sam)
    answer_typically("sam", sam)
    found = generate_proposals(sam, IMAGE)
    assert 20 < len(found) < 300
    sam = copy(models.sam)
    answer_typically("sam", sam)
    again = generate_proposals(sam, IMAGE)
    assert again.masks == found.masks


def test_point_masks_have_the_shapes_of_the_model(models):
    sam = copy(models.sam)
    answer_typically("sam", sam)
    points = np.random.default_rng(0).uniform(0, 90, (70, 2))
    found = list(sam.decode_points(sam.embed(IMAGE), points, chunk=64))
    own = list(models.sam.decode_points(models.sam.embed(IMAGE), points, chunk=64))
    assert [f.iou.shape for f in found] == [f.iou.shape for f in own]
    chosen = torch.zeros(64, 3, dtype=torch.bool)
    chosen[[1, 5], [0, 2]] = True
    assert found[0].low_res(chosen).shape == own[0].low_res(chosen).shape
    assert not found[0].low_res(torch.zeros_like(chosen)).numel()


def test_clip_keeps_its_answers(models):
    clip = copy(models.clip)
    answer_typically("clip", clip)
    assert vars(clip).keys() == vars(models.clip).keys()
