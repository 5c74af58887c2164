"""The predictor, with a small network of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.rounding import FLIPPED, ROUNDING, assert_same
from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.proposals.store import Proposals
from wsss_seed.segmenter.checkpoint import Scale, Segmenter
from wsss_seed.segmenter.networks import NetworkSettings, build
from wsss_seed.segmenter.predict import Predictor, PredictSettings, argmax_labels, digest
from wsss_seed.segmenter.sharpen import sharpen
from wsss_seed.types import LoadedSample

VOC = load_class_set("voc")
AS_IT_IS = Scale()


def make(seed: int = 0, scale: Scale = AS_IT_IS) -> Segmenter:
    torch.manual_seed(seed)
    network = build(NetworkSettings(encoder="resnet18", decoder_channels=16), 21).eval()
    with torch.no_grad():  # or a random network's answers would all be about the same
        network.model.segmentation_head[0].weight.mul_(30)
    return Segmenter(network, VOC, scale, {}, {})


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return make()


def image(height: int = 48, width: int = 70, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def predict(predictor: Predictor, picture: np.ndarray):
    return predictor.seed(LoadedSample(Sample("x"), picture))


def test_without_anything_else_it_is_argmax_of_the_network(segmenter: Segmenter):
    picture = image()
    probabilities = segmenter.probabilities([picture])[0].numpy()
    seed = predict(Predictor(segmenter), picture)
    assert len(np.unique(seed.labels)) > 2, "nothing to see"
    assert (seed.labels != probabilities.argmax(0)).mean() < FLIPPED
    assert_same(seed.confidence, probabilities.max(0))
    assert (seed.labels.dtype, seed.confidence.dtype) == (np.uint8, np.float32)
    assert seed.present == tuple(v - 1 for v in np.unique(seed.labels) if v)
    for c in seed.present:
        assert seed.scores[c] == pytest.approx(probabilities.max(0)[seed.labels == c + 1].max(), rel=ROUNDING)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (33, 65), (128, 96)])
@pytest.mark.parametrize("values", [{}, {"flip": True, "scales": (0.5, 1.5)}, {"window": 32, "overlap": 0.5}])
@pytest.mark.parametrize("scale", [Scale(), Scale(40, 100)])
def test_the_size_of_the_image(segmenter: Segmenter, height, width, values, scale):
    other = Segmenter(segmenter.network, VOC, scale, {}, {})
    predictor = Predictor(other, PredictSettings(**values))
    seed = predict(predictor, image(height, width))
    assert seed.labels.shape == seed.confidence.shape == (height, width)
    assert np.isfinite(seed.confidence).all()
    assert seed.confidence.max() <= 1 + ROUNDING


def test_scales_and_mirror_images_are_averaged(segmenter: Segmenter):
    picture = image()
    parts = []
    for factor in (0.5, 1.5):
        parts += segmenter.probabilities([picture], factor)
        mirrored = segmenter.probabilities([np.ascontiguousarray(picture[:, ::-1])], factor)[0]
        parts.append(mirrored.flip(-1))
    expected = torch.stack(parts).mean(0)
    found = Predictor(segmenter, PredictSettings(scales=(0.5, 1.5), flip=True)).probabilities(picture)
    # There logits are brought to the size of the image, here probabilities.
    assert torch.allclose(found, expected, atol=0.1)
    assert (found.argmax(0) == expected.argmax(0)).float().mean() > 0.9


def test_a_mirrored_image_gives_the_mirrored_map(segmenter: Segmenter):
    picture = image(64, 64)
    predictor = Predictor(segmenter, PredictSettings(flip=True))
    seed, mirrored = (predict(predictor, np.ascontiguousarray(p)) for p in (picture, picture[:, ::-1]))
    assert_same(seed.confidence, mirrored.confidence[:, ::-1])
    assert (seed.labels != mirrored.labels[:, ::-1]).mean() < FLIPPED


def test_windows_are_seen_one_by_one(segmenter: Segmenter):
    """Without overlap and of windows that tile the image each is as if it were an image of its own."""
    picture = image(64, 96)
    found = Predictor(segmenter, PredictSettings(window=32, overlap=0.0)).probabilities(picture)
    alone = segmenter.probabilities([np.ascontiguousarray(picture[32:, 64:])])[0]
    assert_same(found[:, 32:, 64:], alone)
    whole = Predictor(segmenter).probabilities(picture)
    assert not torch.allclose(found, whole, atol=1e-2)


def test_the_same_image_gives_the_same_map(segmenter: Segmenter):
    first, second = (predict(Predictor(make()), image()) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.confidence, second.confidence)


def proposals_of(*masks: np.ndarray) -> Proposals:
    from pycocotools import mask as rle

    n = len(masks)
    return Proposals(
        masks[0].shape if masks else (48, 70),
        tuple(rle.encode(np.asfortranarray(m, np.uint8)) for m in masks),
        np.array([2] * n, np.int8),
        np.ones(n, np.float32),
        np.ones(n, np.float32),
        np.array([m.sum() for m in masks], np.int64),
        np.zeros((n, 2), np.float32),
        np.zeros((n, 4), np.int32),
    )


def test_sharpening(segmenter: Segmenter):
    picture = image()
    mask = np.zeros((48, 70), bool)
    mask[5:40, 8:60] = True
    plain = predict(Predictor(segmenter), picture)
    sharp = predict(Predictor(segmenter, proposals=lambda _: proposals_of(mask)), picture)
    assert len(np.unique(plain.labels[mask])) > 1
    assert len(np.unique(sharp.labels[mask])) == 1
    assert np.array_equal(sharp.labels[~mask], plain.labels[~mask])
    assert sharp.evidence == {"masks": 1}
    probabilities = segmenter.probabilities([picture])[0].numpy()
    maps = [probabilities[c] for c in (0, *(c + 1 for c in plain.present))]
    labels, confidence = sharpen(maps, plain.present, [mask], [2], 4.0, (plain.labels, plain.confidence))
    assert np.array_equal(sharp.labels, labels)
    assert_same(sharp.confidence, confidence)


def test_sharpening_without_proposals_says_so(segmenter: Segmenter):
    picture = image()
    plain = predict(Predictor(segmenter), picture)
    sharp = predict(Predictor(segmenter, proposals=lambda _: proposals_of()), picture)
    assert np.array_equal(sharp.labels, plain.labels)
    assert sharp.notes == ("no mask proposals: not sharpened",)


def test_proposals_are_not_asked_for_where_all_is_background(segmenter: Segmenter):
    other = make()
    with torch.no_grad():
        other.network.model.segmentation_head[0].bias[0] += 1000

    def never(_: np.ndarray) -> Proposals:
        raise AssertionError("asked for")

    seed = predict(Predictor(other, proposals=never), image())
    assert not seed.labels.any()
    assert seed.present == ()


def test_winners_do_not_depend_on_the_order_of_work():
    maps = torch.rand(5, 6, 9, generator=torch.Generator().manual_seed(0))
    labels, confidence = argmax_labels(maps, (6, 9))
    assert np.array_equal(labels, maps.numpy().argmax(0))
    assert np.array_equal(confidence, maps.numpy().max(0))
    assert argmax_labels(torch.ones(3, 2, 2), (2, 2))[0].tolist() == [[0, 0], [0, 0]]  # background wins a tie
    enlarged = torch.nn.functional.interpolate(maps[None], (13, 21), mode="bilinear", antialias=True)[0]
    assert np.array_equal(argmax_labels(maps, (13, 21))[0], enlarged.numpy().argmax(0))


def test_settings_are_those_that_matter(segmenter: Segmenter):
    plain = Predictor(segmenter, PredictSettings(scales=(1.0, 2.0)), record={"a": 1}).settings
    assert plain["scales"] == [1.0, 2.0]
    assert plain["a"] == 1
    assert "sharpen.background_exponent" not in plain
    assert Predictor(segmenter, proposals=lambda _: proposals_of()).settings["sharpen.background_exponent"] == 4.0


def test_digest_is_of_what_the_segmenter_says(segmenter: Segmenter):
    assert digest(segmenter) == digest(make())
    others = [
        make(1),
        make(scale=Scale(100)),
        Segmenter(segmenter.network, load_class_set("toyland"), Scale(), {}, {}),
        Segmenter(segmenter.network, VOC, Scale(), {"network.output_stride": 8}, {}),
    ]
    assert len({digest(s) for s in (segmenter, *others)}) == 5
    trained_otherwise = Segmenter(segmenter.network, VOC, Scale(), {"train.checkpoint_interval": 8}, {"seconds": 1})
    assert digest(trained_otherwise) == digest(segmenter)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"flipp": True}, "Did you mean 'flip'?"),
        ({"scales": []}, "at least one"),
        ({"scales": [0.0]}, "from 0.05 to 20"),
        ({"scales": 1.0}, "expected a list"),
        ({"window": 0}, "at least 1"),
        ({"overlap": 1.5}, "from 0 to 1"),
        ({"sharpen.background_exponent": -1}, "at least 0"),
    ],
)
def test_wrong_settings(values, part):
    with pytest.raises(WsssError) as caught:
        override(PredictSettings(), values)
    assert part in str(caught.value)


def test_a_real_photograph(segmenter: Segmenter, real_data: Path):
    from wsss_seed.data import read_rgb

    path = sorted((real_data / "voc" / "JPEGImages").iterdir())[0]
    picture = read_rgb(path)
    seed = predict(Predictor(segmenter, PredictSettings(window=256)), picture)
    assert seed.labels.shape == picture.shape[:2]
