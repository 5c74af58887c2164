"""The training of the miniature CLIP: its texts, its loss, and that an interrupted training resumes."""

from __future__ import annotations

import gzip

import clip_data
import make_bpe
import numpy as np
import pytest
import torch
import train_clip
import world
from clip_data import ABSENT, CONCEPTS, PRESENT, UNKNOWN, K, Views
from torchmetrics.functional.classification import multilabel_average_precision
from train_clip import Stage

from wsss_seed.models.clip import load_clip

STAGES = (
    Stage(16, 8, 4, 4e-3, 1e-3, 2, 0.1, crops=0.6, empty=0.2, whole=0.4, places=0.5),
    Stage(24, 6, 3, 1e-3, 5e-4, 1, 0.0, crops=0.3, empty=0.1, whole=0.4, places=0.5),
)


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Views:
    return Views(world.arrays("train", 48, tmp_path_factory.mktemp("world"), workers=1))


def test_the_bundled_vocabulary_is_what_the_script_makes(tmp_path):
    make_bpe.write(tmp_path / "bpe.txt.gz")
    made, bundled = (gzip.decompress(p.read_bytes()) for p in (tmp_path / "bpe.txt.gz", make_bpe.BUNDLED))
    assert made == bundled
    first = (tmp_path / "bpe.txt.gz").read_bytes()
    make_bpe.write(tmp_path / "bpe.txt.gz")
    assert (tmp_path / "bpe.txt.gz").read_bytes() == first


def test_a_whole_scene_is_captioned_with_its_classes(views):
    for i in range(len(views)):
        present = set(views.data["classes"][i, views.objects(i)].tolist())
        visible = views.visible(i, views.whole(i))
        assert set(np.flatnonzero(visible == PRESENT).tolist()) == present
        assert not (visible == UNKNOWN).any()


def test_an_empty_view_shows_no_object(views):
    rng = np.random.default_rng(0)
    boxes = [(i, views.empty(rng, i)) for i in range(len(views))]
    found = [(i, box) for i, box in boxes if box is not None]
    assert len(found) > 10
    for i, box in found:
        assert (views.visible(i, box) == ABSENT).all()


def test_a_faintly_visible_object_is_neither_named_nor_denied(views):
    i = next(i for i in range(len(views)) if len(views.objects(i)) == 1)
    x0, y0, x1, _ = views.data["boxes"][i, 0]
    instances = views.data["instances"][i] > 0
    rows = instances.sum(1).cumsum() / instances.sum()
    cut = int(np.searchsorted(rows, 0.2)) + 1  # the first rows hold a fifth of the object
    box = np.array([x0, y0, x1, cut])
    assert views.visible(i, box)[views.data["classes"][i, 0]] == UNKNOWN


def test_crops_lie_in_the_scene_and_hold_the_object(views):
    for i in range(len(views)):
        h, w = views.data["sizes"][i]
        for j in views.objects(i):
            x0, y0, x1, y1 = views.crop(i, j, 1.3)
            bx0, by0, bx1, by1 = views.data["boxes"][i, j]
            assert x0 >= 0 <= y0
            assert x1 <= w
            assert y1 <= h
            assert x0 <= max(bx0, 0) + 0.5
            assert x1 >= min(bx1, w) - 0.5
            assert y0 <= by0 + 0.5
            assert y1 >= by1 - 0.5


def test_every_view_has_a_caption(views):
    pixels, facts = views.draw(np.random.default_rng(1), 64, 16, crops=0.4, empty=0.2, whole=0.4, places=0.3)
    assert pixels.shape == (64, 16, 16, 3)
    assert (facts == PRESENT).any(1).all()
    named = (facts[:, K:] == PRESENT).sum(1)
    assert set(named.tolist()) == {0, 1}
    assert (facts[named == 0, K:] == UNKNOWN).all()


def test_sentences_name_their_concept_and_no_other():
    rng = np.random.default_rng(2)
    for concept in CONCEPTS:
        words = {concept, make_bpe.PLURALS.get(concept, concept)}
        others = {*CONCEPTS, *make_bpe.PLURALS.values()} - words
        for _ in range(50):
            text = clip_data.sentence(rng, concept)
            spoken = set(text.replace(".", " ").split())
            assert spoken & words, text
            assert not spoken & others, text


def test_the_loss_on_two_images_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.5, 3.0, 1.0]])
    facts = torch.tensor([[PRESENT, PRESENT, ABSENT], [UNKNOWN, ABSENT, PRESENT]])
    a = logits[0].exp() / logits[0].exp().sum()
    image_to_text = (-(0.5 * a[0].log() + 0.5 * a[1].log()) - (1.0 - np.log(np.exp(3) + np.exp(1)))) / 2
    text_to_image = (0.0 - (1 - np.log(np.exp(1) + np.exp(3))) - (1 - np.log(np.exp(0) + np.exp(1)))) / 3
    expected = 0.7 * image_to_text + 0.3 * text_to_image
    assert train_clip.loss_of(logits, facts).item() == pytest.approx(float(expected), abs=1e-5)


def test_average_precision_is_the_usual_one():
    rng = np.random.default_rng(3)
    scores, truth = rng.random((60, 5)), rng.random((60, 5)) < 0.3
    expected = multilabel_average_precision(
        torch.from_numpy(scores), torch.from_numpy(truth).long(), 5, average="macro", thresholds=None
    )
    assert clip_data.average_precision(scores, truth) == pytest.approx(float(expected), abs=1e-6)


class _Interrupted(Views):
    """Views that stop the training at the n-th batch."""

    left = 6

    def draw(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().draw(*args, **kwargs)


def test_an_interrupted_training_ends_as_an_undisturbed_one_and_exports(views, tmp_path, monkeypatch):
    train_clip.train(views, views, tmp_path / "whole", STAGES)
    with pytest.raises(KeyboardInterrupt):
        train_clip.train(_Interrupted(views.data), views, tmp_path / "parts", STAGES, minutes=0)
    train_clip.train(views, views, tmp_path / "parts", STAGES)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    assert whole["samples"] == parts["samples"] == 4 * 8 + 3 * 6
    for name, value in whole["model"].items():
        assert torch.equal(value, parts["model"][name]), name
    monkeypatch.setattr(train_clip, "STAGES", STAGES)
    train_clip.export(tmp_path / "whole/last.pt", tmp_path / "exported")
    clip = load_clip(str(tmp_path / "exported"))
    assert clip.image_size == 24
    assert clip.encode_text(["a photo of a cup."]).shape == (1, train_clip.EMBED_DIM)
