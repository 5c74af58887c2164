"""transformers' zero-shot detectors against their own processors, and Grounding DINO in both libraries."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.convert_to_hf import dino_to_hf
from tests.rounding import assert_same
from tests.small_hf import DETECTORS, picture, saved
from wsss_seed.data.toyland import CLASSES, draw
from wsss_seed.errors import WsssError
from wsss_seed.models.detector import class_scores, unique_phrases, write_caption
from wsss_seed.models.grounding_dino import load_grounding_dino
from wsss_seed.models.hf_detector import KINDS, HfDetector, load_hf_detector
from wsss_seed.models.zoo import TINY

PHRASES = [["cat", "Dog"], ["dining table"], ["hot dog"], ["airplane"]]
FLAT = [phrase.text for phrase in unique_phrases(PHRASES)]
OF_TOKENS = ("grounding-dino", "mm-grounding-dino")
SIZES = [(70, 110), (110, 70), (64, 64), (40, 200)]


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def own(kind):
    """transformers' model and processor."""
    return DETECTORS[kind]()


@pytest.fixture(scope="module")
def ours(kind, tmp_path_factory):
    return load_hf_detector(str(saved(tmp_path_factory.mktemp(kind), *DETECTORS[kind]())))


# OWLv2's 0.20 and 0.10 are worth 0.30 and 0.20 of Grounding DINO, OWL-ViT's 0.10 and 0.05 likewise.
EXPONENT = {"owlv2": 0.72, "owlvit": 0.53}


@torch.no_grad()
def own_answer(kind, own, image, threshold):
    """Boxes, scores and labels by the family's own means, and the model's output."""
    model, processor = own
    phrases = [f"a photo of a {phrase}" for phrase in FLAT] if kind.startswith("owl") else FLAT
    text = ". ".join(FLAT) + "." if kind in OF_TOKENS else [phrases]
    inputs = processor(images=image, text=text, return_tensors="pt")
    out = model(**inputs)
    limits = {"text_threshold": threshold} if kind in OF_TOKENS else {}
    if kind == "omdet-turbo":  # of which duplicates are another step
        limits = {"nms_threshold": 1.0}
    sizes = [image.shape[:2]]
    found = processor.post_process_grounded_object_detection(out, threshold=threshold, target_sizes=sizes, **limits)[0]
    return found, out


def clipped(boxes, size):
    return np.clip(boxes.numpy(), 0, np.array([size[1], size[0]] * 2))


def in_order(boxes, *others):
    """Rows in the order of their boxes, so that the order of a detector's queries does not matter."""
    order = np.lexsort(boxes.T)
    return [np.asarray(x)[order] for x in (boxes, *others)]


def pairs(boxes, scores, queries):
    """What OmDet-Turbo's processor takes of its model's answer: the best pairs of box and phrase, as many as there are
    queries."""
    flat = torch.from_numpy(scores).flatten()
    best = flat.topk(queries).indices
    return boxes[best // scores.shape[1]], flat[best].numpy(), (best % scores.shape[1]).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_boxes_and_scores_are_those_of_the_own_processor(kind, own, ours, size):
    image = picture(*size)
    got = ours.detect(image, [[phrase] for phrase in FLAT])
    assert [a.dtype for a in got] == [np.float32] * 3
    ordered = np.sort(got.scores)
    threshold = float(ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean())
    boxes, scores, labels = got.boxes, got.scores, got.class_scores.argmax(1)
    if kind == "omdet-turbo":
        threshold = 0.0
        boxes, scores, labels = pairs(got.boxes, got.class_scores, 12)
    exponent = EXPONENT.get(kind, 1.0)
    found, _ = own_answer(kind, own, image, threshold ** (1 / exponent))
    wanted = [clipped(found["boxes"], size), found["scores"].numpy() ** exponent]
    keep = scores > threshold
    assert 3 <= keep.sum() <= len(got.scores)
    ours_, labels = in_order(boxes[keep], scores[keep]), labels[keep][np.lexsort(boxes[keep].T)]
    for a, b in zip(in_order(*wanted), ours_, strict=True):
        assert_same(b, a)
    if kind not in OF_TOKENS:  # which name no phrase but words that they read off their tokens
        np.testing.assert_array_equal(labels, found["labels"].numpy()[np.lexsort(wanted[0].T)])


@pytest.mark.parametrize(("kind", "published"), [("owlv2", (0.20, 0.10)), ("owlvit", (0.10, 0.05))])
def test_thresholds_of_grounding_dino_suit_owl(kind, published):
    assert np.array(published) ** KINDS[kind].exponent == pytest.approx([0.30, 0.20], abs=0.015)


def test_scores_of_classes(kind, own, ours):
    image = picture()
    got = ours.detect(image, PHRASES)
    _, out = own_answer(kind, own, image, 0.0)
    if kind in OF_TOKENS:
        caption = write_caption(unique_phrases(PHRASES))
        offsets = own[1].tokenizer(caption.text, return_offsets_mapping=True)["offset_mapping"]
        wanted = class_scores(out.logits[0].sigmoid().numpy(), caption, offsets, 4)
    else:
        logits = out.decoder_class_logits if kind == "omdet-turbo" else out.logits
        phrases = logits[0].sigmoid().numpy() ** EXPONENT.get(kind, 1.0)
        wanted = np.stack([phrases[:, :2].max(1), *phrases[:, 2:].T], 1)
    assert_same(got.class_scores, wanted)
    assert got.class_scores.std(0).min() > 1e-3
    again = ours.detect(image, PHRASES, score="best_token")
    assert np.array_equal(again.class_scores, got.class_scores) == (kind not in OF_TOKENS)


def test_a_caption_for_each_class(ours):
    image = picture()
    got = ours.detect(image, PHRASES, joint=False)
    parts = [ours.detect(image, [p if i == c else [] for i, p in enumerate(PHRASES)]) for c in range(4)]
    for a, b in zip(got, zip(*parts, strict=True), strict=True):
        assert_same(a, np.concatenate(b))
    assert ((got.class_scores > 0).sum(1) == 1).all()


def test_a_phrase_of_two_classes_scores_both(ours):
    got = ours.detect(picture(), [["cat"], ["dog", "Cat."]])
    apart = ours.detect(picture(), [["cat"], ["dog"]])
    assert_same(got.class_scores[:, 0], apart.class_scores[:, 0])
    assert_same(got.class_scores[:, 1], apart.class_scores.max(1))


def test_an_image_passes_the_backbone_once(kind, own, ours):
    backbone = {"omdet-turbo": "vision_backbone.vision_backbone", "owlv2": "owlv2.vision_model.encoder"}
    path = backbone.get(kind, "owlvit.vision_model.encoder" if kind == "owlvit" else "model.backbone.conv_encoder")
    looks = []
    handle = ours.model.get_submodule(path).register_forward_hook(lambda *_: looks.append(1))
    first, second = picture(seed=1), picture(seed=2)
    ours.detect(first, PHRASES, joint=False)
    ours.detect(first, PHRASES[:2])
    assert len(looks) == 1
    got = ours.detect(second, PHRASES, joint=False)
    handle.remove()
    assert len(looks) == 2
    fresh = HfDetector(*DETECTORS[kind]()).detect(second, PHRASES, joint=False)
    for a, b in zip(got, fresh, strict=True):
        assert_same(a, b)


def test_many_phrases_are_divided_among_captions(kind, ours):
    letters = "abcdefghijklmnopqrstuvwxyz"
    phrases = [[f"{a} {b}"] for a in letters for b in letters][:150]
    got = ours.detect(picture(), phrases)
    captions = 1 if kind.startswith("owl") else 2 if kind in OF_TOKENS else 7
    assert len(got.scores) == captions * len(ours.detect(picture(), phrases[:1]).scores)
    assert (got.class_scores.max(0) > 0).all()


def test_a_phrase_that_is_too_long(kind, ours):
    with pytest.raises(WsssError, match=r"tokens, the detector reads at most .*shorten it in the class set"):
        ours.detect(picture(), [["cat"], [" ".join("abcdefghijklmnopq" * 20)]])


def test_nothing_to_look_for(ours):
    got = ours.detect(picture(), [[], ["."]])
    assert got.boxes.shape == (0, 4)
    assert got.class_scores.shape == (0, 2)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (600, 2), (3, 40)])
def test_strange_images_are_seen(ours, size):
    got = ours.detect(np.full((*size, 3), 90, np.uint8), PHRASES)
    h, w = size
    assert len(got.boxes)
    assert np.isfinite(got.scores).all()
    assert (got.boxes >= 0).all()
    assert (got.boxes <= [w, h, w, h]).all()


# The miniature in both libraries


@pytest.mark.parametrize("index", [1, 6])
def test_the_miniature_finds_the_same_in_both_libraries(index, tmp_path):
    """On images that both see as they are, for they have the model's size."""
    tiny = load_grounding_dino(TINY)
    words = (TINY / "vocab.txt").read_text("utf-8").splitlines()
    config = json.loads((TINY / "detector.json").read_text())
    folder = saved(tmp_path / "tiny", *dino_to_hf(tiny.model, config, words))
    converted = load_hf_detector(str(folder))
    image = np.array(Image.fromarray(draw(index).image).resize((128, 128)))
    phrases = [[name] for name in CLASSES]
    for joint in (True, False):
        want, got = (d.detect(image, phrases, joint=joint) for d in (tiny, converted))
        assert want.scores.max() > 0.5
        want, got = (in_order(*answer) for answer in (want, got))
        for a, b, atol in zip(got, want, (0.05, 1e-3, 1e-3), strict=True):
            np.testing.assert_allclose(a, b, atol=atol)
