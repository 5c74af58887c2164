"""The comparison of rules with scripted models, on drawn label maps: what the scripts answer, and that it repeats."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.config import override
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.scene import draw
from wsss_seed.seeding.detection.classification import probabilities, text_features, view_boxes
from wsss_seed.seeding.detection.settings import TEMPLATES
from wsss_seed.seeding.dino_sam import DinoSam, Settings

RULES = Path(__file__).parents[2] / "examples/rules"
sys.path.insert(0, str(RULES))

import compare  # noqa: E402
from scripted import Rates, Scene, World  # noqa: E402

TOYLAND = load_class_set("toyland")
PERFECT = Rates(
    missed=(0, 0, 0), misplaced=0, score=(0.8, 0.8, 0.8), score_spread=0, box_jitter=0, confused=0, grouped=0,
    false_boxes=(0, 0), lookalikes=0, false_classes=0, overlooked=(0, 0, 0), crop_noise=0, boundary=0, spilled=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes():
    return [Scene(str(i), draw(i).labels) for i in range(12)]


def figure(scenes, rates, mode, seed=0, **settings):
    world = World(TOYLAND, scenes, rates, seed)
    seeder = DinoSam(TOYLAND, world, world, world, override(Settings(mode=mode), settings))
    return compare.measure(seeder, scenes, given=mode == "label_given")


@pytest.mark.parametrize("mode", ["label_given", "label_free"])
def test_models_without_errors_give_the_ground_truth(scenes, mode):
    small = {"box.min_side": 0, "box.min_area": 0.0, "mask.min_region_area": 0, "mask.box_expand": 0.5}
    assert figure(scenes, PERFECT, mode, **small) > 0.97


def test_more_errors_make_it_worse(scenes):
    figures = [figure(scenes, Rates().scaled(factor), "label_given") for factor in (0, 1, 2)]
    assert figures[0] > figures[1] > figures[2]


def test_answers_repeat_and_depend_on_the_seed(scenes):
    def answers(seed):
        world, scene = World(TOYLAND, scenes, Rates(), seed), scenes[0]
        boxes = view_boxes(*scene.labels.shape)
        found = world.detect(scene.image, TOYLAND.phrases)
        return world.encode_views(scene.image, boxes), found.boxes, found.scores

    for a, b in zip(answers(0), answers(0), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(answers(0)[0], answers(1)[0])


def test_the_caption_does_not_change_the_answer_for_a_class(scenes):
    """Otherwise rules that ask for other classes would get other objects."""
    world, scene = World(TOYLAND, scenes, Rates(), 0), scenes[0]
    every = world.detect(scene.image, TOYLAND.phrases)
    for c in scene.present:
        alone = world.detect(scene.image, [TOYLAND.phrases[c], ("distractor",)])
        own = every.class_scores.argmax(1) == c
        np.testing.assert_array_equal(alone.boxes, every.boxes[own])


def test_the_crop_of_a_rider_is_called_a_motorcycle():
    """A class with 0.25 of the crop beside one with 0.45 has about a fifteenth of its probability."""
    voc = load_class_set("voc")
    labels = np.zeros((200, 200), np.uint8)
    person, motorbike = voc.names.index("person"), voc.names.index("motorbike")
    labels[:90] = motorbike + 1
    labels[90:140] = person + 1
    scene = Scene("rider", labels)
    world = World(voc, [scene], PERFECT, 0)
    text = text_features(world, [*voc.phrases, *((b,) for b in voc.background)], TEMPLATES)
    crop = np.array([[0, 0, 200, 200.0]], np.float32)
    p = probabilities(world.encode_views(scene.image, crop), text, world.logit_scale)[0]
    assert 10 < p[motorbike] / p[person] < 25
    assert p[motorbike] > 0.5


def test_published_outputs_decide_what_clip_sees(tmp_path):
    scene = draw(0)
    Image.fromarray(scene.labels).save(tmp_path / "a.png")
    Image.fromarray(scene.labels).save(tmp_path / "b.png")
    seen = tmp_path / "seen.txt"
    seen.write_text("a 3 5\n", "utf-8")
    a, b = compare.read_scenes(tmp_path, seen, None)
    assert (a.seen, b.seen) == ({3, 5}, None)
    world = World(TOYLAND, [a, b], PERFECT, 0)
    text = text_features(world, [*TOYLAND.phrases, *((w,) for w in TOYLAND.background)], TEMPLATES)
    views = world.encode_views(a.image, view_boxes(*a.labels.shape))
    assert set(np.flatnonzero(probabilities(views, text, 100.0)[0, : len(TOYLAND.names)] > 0.1)) == {3, 5}


def test_the_table_has_every_rule_and_mode(scenes):
    rows = list(compare.replay(TOYLAND, scenes[:2], compare.RULES, (1.0,), 2))
    assert [(r["mode"], r["rules"]) for r in rows] == [(m, r) for m in compare.MODES for r in compare.RULES]
    assert all(0 <= r["miou"] <= 1 for r in rows)
