"""The dino-sam backend with the bundled miniatures, on scenes of toyland they were not trained on."""

import numpy as np
import pytest
from PIL import Image

from tests.models.waits import Waits
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.errors import WsssError
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import iou, mean, resolve_ignored
from wsss_seed.models import clip
from wsss_seed.models.merging import in_groups
from wsss_seed.models.precision import IMAGES
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.seeding.dino_sam import build
from wsss_seed.types import LoadedSample

CLASSES = load_class_set("toyland")
WORLD = Toyland(CLASSES, "test", 12)


@pytest.fixture(scope="module")
def models():
    return ModelSet("tiny", "cpu")


def samples(n, boxes=False):
    return [LoadedSample(s, WORLD.image(s), WORLD.boxes(s) if boxes else None) for s in WORLD.samples[:n]]


def miou(seeds):
    pairs = zip(WORLD.samples, seeds, strict=False)
    counts = confusion_matrix(sum(joint_histogram(WORLD.mask(s), seed.labels) for s, seed in pairs), 13)
    return mean(iou(resolve_ignored(counts, "background")))


@pytest.mark.parametrize(("mode", "least"), [("boxes_given", 0.6), ("label_given", 0.4), ("label_free", 0.3)])
def test_every_mode_finds_most_objects(models, mode, least):
    """Far below what the weights reach: a broken step falls under it, a weak dozen of images does not."""
    seeder = build(BackendRequest(CLASSES, models, {"mode": mode}))
    assert seeder.settings["mode"] == mode
    seeds = [seeder.seed(sample) for sample in samples(12, boxes=True)]
    for sample, seed in zip(WORLD.samples, seeds, strict=True):
        assert seed.labels.shape == WORLD.mask(sample).shape
    assert miou(seeds) > least


def test_the_same_bytes_in_any_company(models):
    for mode in ("label_given", "label_free"):
        first_one = build(BackendRequest(CLASSES, models, {"mode": mode}))
        together = [first_one.seed(sample) for sample in samples(4)]
        seeder = build(BackendRequest(CLASSES, models, {"mode": mode}))
        for sample, first in list(zip(samples(4), together, strict=True))[::-1]:
            again = seeder.seed(sample)
            assert again.labels.tobytes() == first.labels.tobytes()
            assert again.confidence.tobytes() == first.confidence.tobytes()
            assert again.evidence == first.evidence


@pytest.mark.parametrize("most", [1, 1024])
@pytest.mark.parametrize("mode", ["label_given", "label_free"])
def test_the_same_masks_in_batches_of_any_size(models, monkeypatch, mode, most):
    """Images of several sizes: byte for byte on a CPU, and but for rounding where images share a pass as on a GPU."""
    monkeypatch.setitem(IMAGES, "cpu", most)
    monkeypatch.setitem(clip._VIEWS, "cpu", 64)
    seeder = build(BackendRequest(CLASSES, models, {"mode": mode}))
    loaded = []
    for i, sample in enumerate(samples(7)):
        height, width = [(96, 128), (128, 96), (61, 83)][i % 3]
        image = np.asarray(Image.fromarray(sample.image).resize((width, height)))
        loaded.append(LoadedSample(sample.sample, image))
    alone = [seeder.seed(sample) for sample in loaded]
    assert len({seed.labels.shape for seed in alone}) == 3
    assert sum(seed.labels.any() for seed in alone) > 3
    views = []
    encode = models.clip._encode_pixels
    monkeypatch.setattr(models.clip, "_encode_pixels", lambda pixels: views.append(len(pixels)) or encode(pixels))
    for size in (2, 7):
        together = [outcome.future.result() for _, outcome in in_groups(seeder.seed, loaded, size)]
        for first, seed in zip(alone, together, strict=True):
            assert seed.labels.tobytes() == first.labels.tobytes()
            np.testing.assert_allclose(seed.confidence, first.confidence, rtol=0, atol=1e-7 if most == 1 else 0.01)
    if mode == "label_free":
        assert max(views) == (14 if most == 1 else 64)


def test_an_image_is_copied_from_the_device_eight_times_however_many_boxes_it_has(models):
    """CLIP's views and the crops, tokens and boxes of two captions, masks, and predicted IoUs."""
    seeder = build(BackendRequest(CLASSES, models, {"mode": "label_free"}))
    loaded = samples(6)
    seeder.seed(loaded[0])  # texts are encoded once
    copies, boxes = [], []
    for sample in loaded:
        with Waits() as waits:
            seed = seeder.seed(sample)
        copies.append(waits.seen["cpu"])
        assert not waits.seen["item"] + waits.seen["tolist"] + waits.seen["masked_select"]
        boxes.append(len(seed.instances))
    assert len(set(boxes)) > 2
    assert max(copies) <= 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_thin_images(models, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for labels in (None, (0, 3)):
        sample = WORLD.samples[0].__class__("thin", labels=labels)
        seed = build(BackendRequest(CLASSES, models)).seed(LoadedSample(sample, image))
        assert seed.labels.shape == shape


def test_the_user_s_settings_go_before_the_calibrated_ones(models):
    calibrated = models.settings("dino-sam")
    seeder = build(BackendRequest(CLASSES, models, {"detector.box_threshold": 0.77}))
    assert seeder.settings["detector.box_threshold"] == 0.77
    for key, value in calibrated.items():
        if key != "detector.box_threshold":
            assert seeder.settings[key] == value
    with pytest.raises(WsssError, match=r"detector\.box_threshold"):
        build(BackendRequest(CLASSES, models, {"gd.box_th": 0.5}))
