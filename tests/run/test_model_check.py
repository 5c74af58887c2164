"""What works passes, and what is garbled is found: the miniatures, and what may happen to them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.small_hf import sam3, saved
from wsss_seed.models.sam3 import Sam3, TextMasks
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.model_check import NAMES, Check, _objects, check_models, fault


def by_role(checks: list[Check]) -> dict[str, Check]:
    return {check.role: check for check in checks}


def test_the_miniatures_pass():
    found = check_models(ModelSet("tiny", "cpu"))
    assert [check.role for check in found] == ["clip", "detector", "sam"]
    for check in found:
        assert check.passed
        assert check.skill > 0.7
        assert check.size >= 15
        assert 0 < check.chance < 0.7


@pytest.mark.parametrize("role", ["clip", "sam", "detector"])
def test_permuted_weights_are_found(permuted: Path, role: str):
    found = by_role(check_models(ModelSet("tiny", "cpu", **{role: str(permuted)})))
    assert {name: check.passed for name, check in found.items()} == {
        name: name != role for name in ("clip", "detector", "sam")
    }
    assert found[role].skill < 0.25
    assert str(permuted) in fault(found[role])


def test_a_wrong_normalisation_is_found():
    """Pixels 0..1 for CLIP, 0..255 for SAM, in place of normalised ones; the detector sees images upside down."""
    models = ModelSet("tiny", "cpu")
    models.clip._mean, models.clip._std = models.clip._mean * 0, models.clip._std * 0 + 1
    network = models.sam.model
    network.pixel_mean, network.pixel_std = network.pixel_mean * 0, network.pixel_std * 0 + 1
    detect = models.detector.detect
    models.detector.detect = lambda image, phrases: detect(np.ascontiguousarray(image[::-1]), phrases)
    assert not any(check.passed for check in check_models(models))


def test_texts_in_another_order_are_found():
    models = ModelSet("tiny", "cpu")
    tokenize = models.clip.tokenizer
    models.clip.tokenizer = lambda texts: tokenize(texts[::-1])
    assert not by_role(check_models(models))["clip"].passed


def test_sam3_that_knows_the_truth_passes_and_a_random_one_fails(tmp_path, monkeypatch):
    folder = saved(tmp_path / "sam3", *sam3())
    models = ModelSet("sam3", "cpu", clip="tiny", sam=f"hf:{folder}")
    found = check_models(models)
    assert (found[0].role, found[0].passed) == ("clip", True)
    assert found[1].measure == "share of classes whose best box is right"
    assert not found[1].passed

    def embed(self, image):
        self.scene = next(s for s in scenes if s.image is image or np.array_equal(s.image, image))
        return type("Embedding", (), {"original_size": image.shape[:2]})()

    def ask(self, embedding, phrase, least=0.0):
        rows = self.scene.classes == NAMES.index(phrase)
        boxes = self.scene.boxes[rows] if rows.any() else np.zeros((1, 4), np.float32)
        masks = self.scene.masks[rows] if rows.any() else self.scene.masks[:1]
        return TextMasks(boxes, np.ones(len(boxes), np.float32), torch.from_numpy(masks).float() * 20 - 10)

    from wsss_seed.data.toyland.scene import draw

    scenes = [_objects(draw(i, "val")) for i in range(24)]
    monkeypatch.setattr(Sam3, "embed", embed)
    monkeypatch.setattr(Sam3, "ask", ask)
    boxes, masks = check_models(models)[1:]
    assert (boxes.role, boxes.value, masks.measure) == ("sam", 1.0, "mean IoU of masks")
    assert masks.value > 0.99
    assert boxes.passed
    assert masks.passed
