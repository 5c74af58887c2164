"""Models with random weights, and the models of the sets through the loaders at their real size."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from tests.small_hf import picture
from wsss_seed.models.clip import load_clip
from wsss_seed.models.hf_detector import HfDetector, load_hf_detector
from wsss_seed.models.hf_masks import HfMasks, load_hf_masks
from wsss_seed.models.untrained import _clip_tokenizer, is_known, untrained, with_random_weights
from wsss_seed.models.zoo import HUB, ModelSet, model_sets

IN_SETS = sorted({(role, name) for spec in model_sets().values() for role, name, _ in spec.models()})
HUB_MODELS = [(role, name) for role, name in IN_SETS if name.startswith(HUB) and "sam3" not in name]
CLIPS = [name for role, name in IN_SETS if role == "clip" and ":" in name and "openai" not in name]


def test_the_architecture_of_every_model_of_the_sets_is_known():
    for role, name in IN_SETS:
        assert is_known(role, name) or name.startswith("tiny")
    assert not is_known("detector", "hf:nobody/knows")
    assert not is_known("sam", "tiny")


def test_tokens_are_those_of_clip():
    texts = ["a photo of a television", "potted plant, aeroplane"]
    tokens = _clip_tokenizer(77)(texts, padding="max_length", max_length=77)["input_ids"]
    theirs = open_clip.tokenize(texts)
    for own, their in zip(tokens, theirs, strict=True):
        length = int(their.argmax()) + 1
        assert own[:length] == their[:length].tolist()


def test_a_clip_of_open_clip():
    clip = untrained("clip", "ViT-B-32-256:datacomp_s34b_b86k", "cpu", "fp32")
    assert clip.image_size == 256
    assert clip.encode_views(picture(), np.array([[0, 0, 110, 70.0]])).shape == (1, 512)
    assert clip.encode_text(["a cat"]).shape == (1, 512)


def test_a_set_with_random_weights_for_what_is_not_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    models = ModelSet("tiny", "cpu", clip="ViT-B-32-256:datacomp_s34b_b86k").for_backend("clip-sams")
    state = torch.random.get_rng_state()
    own, random = with_random_weights(models, ("clip", "sam"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.keys() == {"clip"}
    assert own.clip is random["clip"]
    assert own.for_backend("clip-sams") is own
    assert own.sam.name.endswith("tiny")
    assert "clip" not in vars(models)
    again = with_random_weights(models, ("clip",))[0]
    torch.testing.assert_close(again.clip.encode_text(["a cat"]), own.clip.encode_text(["a cat"]), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("role", "name"), HUB_MODELS)
def test_models_of_transformers_load_at_their_real_size(role: str, name: str, tmp_path: Path):
    """Saved as their publishers do, they load through the adapters and answer the same."""
    torch.manual_seed(0)
    model = untrained(role, name, "cpu", "fp32")
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    image = picture(375, 500)
    again: HfDetector | HfMasks
    if role == "detector":
        again = load_hf_detector(str(tmp_path))
        own, other = (m.detect(image, [("cat",), ("dog", "puppy")]) for m in (model, again))
        assert len(own.scores) >= 900
        for a, b in zip(own, other, strict=True):
            np.testing.assert_array_equal(a, b)
    else:
        again = load_hf_masks(str(tmp_path))
        boxes = np.array([[50, 60, 300, 280.0]])
        own, other = (m.decode_boxes(m.embed(image), boxes) for m in (model, again))
        torch.testing.assert_close(own.low_res, other.low_res, rtol=0, atol=0)
        assert model.logits(model.embed(image), own.low_res).shape == (1, 1, 375, 500)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_clips_load_at_their_real_size(name: str, tmp_path: Path):
    torch.manual_seed(0)
    clip = untrained("clip", name, "cpu", "fp32")
    file = tmp_path / "weights.pt"
    torch.save(clip.model.state_dict(), file)
    again = load_clip(f"{name.partition(':')[0]}:{file}")
    assert again.image_size == clip.image_size
    views = np.array([[0, 0, 110, 70], [10, 10, 60, 60.0]])
    torch.testing.assert_close(again.encode_views(picture(), views), clip.encode_views(picture(), views))
    torch.testing.assert_close(again.encode_text(["a cat"]), clip.encode_text(["a cat"]))
