"""The clip-sams seeder: stages, votes, fallbacks and independence, with a small random CLIP."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import ImageError
from wsss_seed.proposals.store import Proposals
from wsss_seed.seeding.clip_sams import ClipSams, ClipSamsSettings
from wsss_seed.seeding.clip_sams.pixel_seed import pixel_seed
from wsss_seed.seeding.clip_sams.presets import load_preset, presets
from wsss_seed.seeding.clip_sams.prompts import prompt_names, random_contexts
from wsss_seed.seeding.clip_sams.sams import sams
from wsss_seed.types import LoadedSample

CLASSES = replace(load_class_set("house, tree, car"), background=("grass", "sky"))
SHAPE = (50, 70)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)


def proposals(masks, levels=None, shape=SHAPE):
    """Proposals of masks bool (n, H, W)."""
    n = len(masks)
    found = tuple(rle.encode(np.asfortranarray(m, np.uint8)) for m in masks)
    areas, ones = np.array([int(np.sum(m)) for m in masks], np.int64), np.ones(n, np.float32)
    levels = np.array([2] * n if levels is None else levels, np.int8)
    return Proposals(shape, found, levels, ones, ones, areas, np.zeros((n, 2), np.float32), np.zeros((n, 4), np.int32))


def quarters(image):
    """Four masks that tile an image."""
    height, width = image.shape[:2]
    masks = np.zeros((4, height, width), bool)
    h, w = height // 2, width // 2
    masks[0, :h, :w] = masks[1, :h, w:] = masks[2, h:, :w] = masks[3, h:, w:] = True
    return proposals(masks, shape=(height, width))


def loaded(labels, image=IMAGE, name="a"):
    return LoadedSample(Sample(name, labels=labels), image)


@pytest.fixture
def make(clip):
    def build(found=quarters, contexts=None, classes=CLASSES, **settings):
        values = {k.replace("__", "."): v for k, v in settings.items()}
        return ClipSams(classes, clip, found, contexts, override(ClipSamsSettings(), values))

    return build


@pytest.fixture
def contexts(clip):
    names = prompt_names(CLASSES)
    return random_contexts(clip, names, length=4, std=0.3, generator=torch.Generator().manual_seed(1))


def check(seed, shape=SHAPE):
    assert seed.labels.shape == seed.confidence.shape == shape
    assert seed.labels.dtype == np.uint8
    assert seed.confidence.dtype == np.float32
    assert ((seed.confidence >= 0) & (seed.confidence <= 1)).all()
    json.dumps({"evidence": seed.evidence, "notes": seed.notes, "present": seed.present, "scores": dict(seed.scores)})


def test_masks_vote_on_the_maps(make):
    """What ``sams`` makes of the maps and the masks; no 255."""
    seeder = make()
    seed = seeder.seed(loaded((0, 2)))
    check(seed)
    masks = quarters(IMAGE)
    expected = sams(seeder.cams(IMAGE, (0, 2)), (0, 2), masks.masks, masks.level, 0.6, SHAPE)
    assert (seed.labels == expected.labels).all()
    assert (seed.confidence == expected.confidence).all()
    assert set(np.unique(seed.labels)) <= {0, 1, 3}
    assert seed.present == (0, 2)
    assert seed.evidence["masks"] == 4
    assert seed.scores[0] == pytest.approx(float(seed.confidence[seed.labels == 1].max(initial=0)), abs=1e-5)


def test_without_proposals_the_maps_decide(make):
    """The pixel-level seed with exponent 1, and a note."""
    seeder = make(found=lambda image: proposals(np.zeros((0, *SHAPE), bool)))
    seed = seeder.seed(loaded((0, 1)))
    check(seed)
    labels, confidence = pixel_seed(seeder.cams(IMAGE, (0, 1)), (0, 1), SHAPE, 1.0)
    assert (seed.labels == labels).all()
    assert (seed.confidence == confidence).all()
    assert "no mask proposals" in seed.notes[0]


def test_pixel_level_seeds_need_no_sam(make):

    def asleep(image):
        raise AssertionError("SAM was called")

    seeder = make(found=asleep, sams__vote=False, sams__background_exponent=3.0)
    seed = seeder.seed(loaded((1,)))
    assert (seed.labels == pixel_seed(seeder.cams(IMAGE, (1,)), (1,), SHAPE, 3.0)[0]).all()
    assert seed.notes == ()


@pytest.mark.parametrize("apply_to", ["none", "score", "cam"])
@pytest.mark.parametrize("weights", ["channel", "element"])
def test_maps_of_present_classes_only(make, apply_to, weights):
    seeder = make(affinity__apply_to=apply_to, cam__weights=weights)
    maps = seeder.cams(IMAGE, (0, 2))
    assert maps.shape == (2, 7, 9)  # 50 -> 56, 70 -> 72 pixels in patches of 8
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    if apply_to == "none":
        assert (maps < 0).any()  # signed


def test_each_switch_of_the_affinity_counts(make):
    base = make().cams(IMAGE, (0, 2))
    changes = {
        "affinity__sinkhorn_iters": 3,
        "affinity__power": 1,
        "affinity__attention_blocks": 1,
        "affinity__box_threshold": 0.9,
    }
    for key, value in {**changes, "cam__logit_scale": 3.0, "affinity__apply_to": "cam"}.items():
        assert not torch.allclose(make(**{key: value}).cams(IMAGE, (0, 2)), base), key


def test_a_long_image_is_seen_smaller(make):
    assert make(max_side=35).cams(IMAGE, (0,)).shape == (1, 4, 5)
    seed = make(max_side=35).seed(loaded((0,)))
    check(seed)


def test_learned_prompts_change_the_maps(make, contexts):
    assert not torch.allclose(make().cams(IMAGE, (0,)), make(contexts=contexts).cams(IMAGE, (0,)))


def test_low_margins_become_255_on_demand(make):
    """The original writes no 255, and neither do the presets."""
    plain, strict = make(), make(sams__margin=1.0)
    seed, doubting = (s.seed(loaded((0, 1, 2))) for s in (plain, strict))
    assert not (seed.labels == 255).any()
    masks = quarters(IMAGE)
    margin = sams(plain.cams(IMAGE, (0, 1, 2)), (0, 1, 2), masks.masks, masks.level, 0.6, SHAPE).margin
    assert ((doubting.labels == 255) == (margin < 1)).all()
    assert (doubting.labels == 255).any()
    assert (doubting.confidence[doubting.labels == 255] == 0).all()
    for name in presets():
        assert all("sams.margin" not in stage for stage in load_preset(name).stages.values())


def test_no_class_is_an_image_of_background(make):
    seed = make().seed(loaded(()))
    check(seed)
    assert (seed.labels == 0).all()
    assert seed.notes == ("no class present: all background",)


def test_labels_are_needed_and_must_be_of_the_class_set(make):
    with pytest.raises(ImageError, match=r"^x: no image-level labels; give `labels` a file"):
        make().seed(loaded(None, name="x"))
    for labels in ((0, 3), (-1,)):
        with pytest.raises(ImageError, match=r"^x: labels .* class set 'custom'"):
            make().seed(loaded(labels, name="x"))


def test_the_same_bytes_in_any_company(make, contexts):
    images = [np.random.default_rng(i).integers(0, 256, (40 + i, 60 - i, 3), np.uint8) for i in range(4)]
    samples = [loaded(labels, image) for labels, image in zip([(0,), (1, 2), (0, 1, 2), (2,)], images, strict=True)]
    first_one = make(contexts=contexts)
    together = [first_one.seed(sample) for sample in samples]
    seeder = make(contexts=contexts)
    for sample, first in list(zip(samples, together, strict=True))[::-1]:
        again = seeder.seed(sample)
        assert again.labels.tobytes() == first.labels.tobytes()
        assert again.confidence.tobytes() == first.confidence.tobytes()
        assert again.evidence == first.evidence


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1)])
def test_thin_images(make, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for found in (quarters, lambda i: proposals(np.ones((1, *i.shape[:2]), bool), shape=i.shape[:2])):
        seed = make(found=found).seed(loaded((0, 1), image))
        check(seed, shape)


def test_one_mask_makes_an_empty_seed(make):
    """Min-max over one mask is 0 for every class."""
    seed = make(found=lambda image: proposals(np.ones((1, *SHAPE), bool))).seed(loaded((0, 1)))
    assert (seed.labels == 0).all()
    assert "no pixels for house, tree" in seed.notes


# ---- settings and presets


def test_settings_are_flat_json(make):
    seeder = make(sams__background_exponent=0.5)
    assert json.loads(json.dumps(seeder.settings)) == seeder.settings
    assert seeder.settings["sams.background_exponent"] == 0.5
