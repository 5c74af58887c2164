"""The loops of other projects: on the same weights they find what our models find."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from wsss_seed.data.toyland import draw
from wsss_seed.models.peers import clip_es_maps, grounded_sam, image_encoder, library_sam, mask_generator
from wsss_seed.models.sam_attention import FusedAttention
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.clip_sams.cam import softmax_gradcam

IMAGE = draw(0, "test").image


@pytest.fixture(scope="module")
def models() -> ModelSet:
    return ModelSet("tiny", "cpu")


def test_a_sam_with_the_attention_of_the_library(models):
    library = library_sam(models.sam)
    assert not any(isinstance(block.attn, FusedAttention) for block in library.image_encoder.blocks)
    assert all(isinstance(block.attn, FusedAttention) for block in models.sam.model.image_encoder.blocks)


def test_the_encoder_of_segment_anything(models):
    theirs = image_encoder(library_sam(models.sam))(IMAGE)
    torch.testing.assert_close(models.sam.embed(IMAGE).features, theirs, rtol=1e-3, atol=1e-3)


def test_the_generator_of_segment_anything(models):
    generate = mask_generator(
        library_sam(models.sam), points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.0
    )
    found = generate(IMAGE)
    assert found
    assert rle.decode(found[0]["segmentation"]).shape == IMAGE.shape[:2]


def test_grounded_sam_segments_the_best_boxes(models):
    phrases = ["circle", "square"]
    run = grounded_sam(models.detector, library_sam(models.sam), phrases, best=3)
    found = run(IMAGE)
    assert found.shape == (3, *IMAGE.shape[:2])
    assert found.dtype == bool
    queries = models.detector.detect(IMAGE, [(phrase,) for phrase in phrases])
    boxes = queries.boxes[np.argsort(-queries.scores)[:3]]
    embedding = models.sam.embed(IMAGE)
    own = models.sam.logits(embedding, models.sam.decode_boxes(embedding, boxes).low_res)[:, 0].numpy() > 0
    for mask in found:
        assert max(((mask & other).sum() + 1) / ((mask | other).sum() + 1) for other in own) > 0.9


def test_grounded_sam_without_boxes(models, monkeypatch):
    monkeypatch.setattr("wsss_seed.models.peers._BOX", 1.0)
    assert grounded_sam(models.detector, library_sam(models.sam), ["circle"])(IMAGE).shape == (0, *IMAGE.shape[:2])


def test_the_maps_of_clip_es_are_ours(models):
    clip = models.clip
    text = torch.nn.functional.normalize(torch.randn(5, clip.encode_text(["a"]).shape[1]), dim=-1)
    present = torch.tensor([[True, True, False]])
    # Without an absent class, both take the softmax over the same prompts.
    ours = softmax_gradcam(
        clip, clip.encode_tokens(clip.prepare(IMAGE)), text[[0, 1, 3, 4]], present[:, :2], softmax="present"
    )
    theirs = clip_es_maps(clip, text[[0, 1, 3, 4]], [0, 1])(IMAGE)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(ours.abs().max()))
