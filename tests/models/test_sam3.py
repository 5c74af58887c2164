"""SAM 3's answers to texts against transformers' own processor."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.rounding import FLIPPED, assert_same
from tests.small_hf import picture, sam, sam3, saved, saved_sam3_video
from wsss_seed.errors import WsssError
from wsss_seed.models.hf_masks import load_hf_masks
from wsss_seed.models.sam3 import load_sam3

SIZES = [(70, 110), (64, 64), (20, 300)]


@pytest.fixture(scope="module")
def own():
    return sam3()


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return load_sam3(str(saved(tmp_path_factory.mktemp("sam3"), *sam3())))


@torch.no_grad()
def own_answer(own, image, text, threshold):
    """Boxes, scores and masks by the family's own means."""
    model, processor = own
    inputs = processor(images=image, text=text, return_tensors="pt")
    out = model(pixel_values=inputs["pixel_values"], **{k: inputs[k] for k in ("input_ids", "attention_mask")})
    return processor.post_process_instance_segmentation(
        out, threshold=threshold, mask_threshold=0.5, target_sizes=[image.shape[:2]]
    )[0]


@pytest.mark.parametrize("phrase", ["cat", "dining table"])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_scores_and_masks_are_those_of_the_own_processor(own, ours, size, phrase):
    image = picture(*size)
    embedding = ours.embed(image)
    got = ours.ask(embedding, phrase)
    assert len(got.scores) == 8
    threshold = float(np.median(got.scores))
    wanted = own_answer(own, image, phrase, threshold)
    got = ours.ask(embedding, phrase, threshold)
    assert 3 <= len(got.scores) <= 5
    assert_same(got.scores, wanted["scores"])
    boxes = np.clip(wanted["boxes"].numpy(), 0, np.array([size[1], size[0]] * 2))
    assert_same(got.boxes, boxes)
    masks = torch.stack([logits > 0 for logits in ours.logits(embedding, got.low_res)])
    assert masks.shape == (len(got.scores), *size)
    assert (masks != wanted["masks"].bool()).float().mean() < FLIPPED
    assert 0.01 < masks.float().mean() < 0.99


def test_an_image_is_encoded_once_and_a_phrase_read_once(ours):
    looks, reads = [], []
    handles = [
        ours.model.vision_encoder.register_forward_hook(lambda *_: looks.append(1)),
        ours.model.text_encoder.register_forward_hook(lambda *_: reads.append(1)),
    ]
    for seed in (1, 2):
        embedding = ours.embed(picture(seed=seed))
        for phrase in ("hot dog", "Hot dog.", "airplane"):
            ours.ask(embedding, phrase)
    for handle in handles:
        handle.remove()
    assert (len(looks), len(reads)) == (2, 2)


def test_phrases_and_images_make_a_difference(ours):
    first, second = (ours.embed(picture(seed=s)) for s in (1, 2))
    scores = [ours.ask(e, p).scores for e, p in ((first, "cat"), (first, "dog"), (second, "cat"))]
    assert not np.allclose(scores[0], scores[1], atol=1e-4)
    assert not np.allclose(scores[0], scores[2], atol=1e-4)
    np.testing.assert_array_equal(ours.ask(first, "cat").scores, scores[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (600, 2), (3, 40)])
def test_strange_images_are_seen(ours, size):
    embedding = ours.embed(np.full((*size, 3), 90, np.uint8))
    got = ours.ask(embedding, "cat")
    assert (got.boxes >= 0).all()
    assert (got.boxes <= [size[1], size[0]] * 2).all()
    assert all(logits.shape == size for logits in ours.logits(embedding, got.low_res))


def test_a_phrase_that_is_too_long(ours):
    with pytest.raises(WsssError, match=r"has 40 tokens, the detector reads at most 30; shorten it"):
        ours.ask(ours.embed(picture()), " ".join("x" * 40))


def test_as_published_with_its_tracker(tmp_path):
    """facebook/sam3 holds the model for videos; the parts for texts and for boxes are both read from it."""
    folder = saved_sam3_video(tmp_path)
    weights = load_file(folder / "model.safetensors")
    texts, boxes = load_sam3(str(folder)), load_hf_masks(str(folder))
    for part, prefix in ((texts.model, "detector_model."), (boxes.model, "tracker_model.")):
        name = "mask_decoder." + ("mask_embedder.layers.0.weight" if part is texts.model else "iou_token.weight")
        assert torch.equal(part.state_dict()[name], weights[prefix + name])
    image = picture()
    assert len(texts.ask(texts.embed(image), "cat").scores) == 8
    assert boxes.decode_boxes(boxes.embed(image), np.array([[5, 5, 60, 60]])).low_res.isfinite().all()


def test_another_model_is_refused(tmp_path):
    folder = saved(tmp_path, *sam())
    with pytest.raises(WsssError, match=r"a model of kind 'sam', not SAM 3; known kinds: sam3, sam3_video"):
        load_sam3(str(folder))
