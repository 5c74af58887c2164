"""What is dino-sam's own: captions, masks of SAM, and the preset without CLIP."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.seeding.rectangles import (
    CLASSES,
    GREEN,
    OPEN,
    RED,
    TWO,
    ColourDetector,
    check,
    found,
    loaded,
    picture,
)
from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.seeding.detection import seeder as shared
from wsss_seed.seeding.dino_sam import PRESETS, Settings, build


def test_nothing_found_for_given_labels_is_all_255(make, sam):
    """An empty detection list makes a valid seed, without a call of SAM."""

    class Asleep(type(sam)):
        def embed(self, image):
            raise AssertionError("SAM was called")

    seeder = make()
    seeder._sam = Asleep(sam.model)
    seed = seeder.seed(loaded(picture(), (RED,)))
    check(seed, (80, 100))
    assert (seed.labels == 255).all()
    assert seed.evidence["detections"] == []
    assert seed.notes == ("no mask for red: uncovered pixels are ignored",)


def test_a_given_class_is_rescued_by_a_caption_of_its_own(make):
    """Green loses against red in the joint caption; by itself it has 0.25 >= 0.15."""
    image = picture((RED, 0.9, 5, 5, 45, 40), (GREEN, 0.25, 50, 30, 95, 75))
    detector = ColourDetector()
    seed = make(detector).seed(loaded(image, (RED, GREEN)))
    assert detector.captions == [[["red"], ["green"]], [[["green"]]]]
    green = next(d for d in seed.evidence["detections"] if d["class"] == "green")
    assert green["score"] == pytest.approx(64 / 255, abs=1e-5)
    assert green["role"] in ("confident", "ambiguous")
    assert not any("no mask" in n for n in seed.notes)


def test_negative_phrases_and_distractors_compete_in_the_caption(make, monkeypatch):
    """What the detector prefers to call by their names is no object of a class."""
    monkeypatch.setattr(shared, "TOO_NEAR", 2.0)  # to random weights all words are alike
    classes = replace(CLASSES, names=("red", "blue"), phrases=(("red",), ("blue",)), prompts=("red", "blue"))
    for more in ({"negatives": ("green",)}, {"distractors": ("green",)}):
        rival = replace(classes, assume_present=False, **more)
        detector = ColourDetector()
        seed = make(detector, classes=rival).seed(loaded(TWO))
        assert all(["green"] in caption for caption in detector.captions)
        assert [d["class"] for d in seed.evidence["detections"]] == ["red"]
    assert "green" not in str(make(classes=classes).class_set.background)
    detector = ColourDetector()
    make(detector, classes=replace(classes, distractors=("green",)), clip__distractors=0).seed(loaded(TWO))
    assert all(["green"] not in caption for caption in detector.captions)


def test_a_dropped_mask_leaves_255_in_the_core_of_its_box(make):
    """A class with dropped masks only has no mask."""
    seed = make(mask__pred_iou_thresh=1.0).seed(loaded(TWO))
    assert found(seed) == [("red", "ambiguous", "invalid_mask"), ("green", "ambiguous", "invalid_mask")]
    expected = np.zeros((80, 100), np.uint8)
    expected[14:31, 15:35] = expected[41:64, 61:84] = 255
    np.testing.assert_array_equal(seed.labels, expected)
    seed = make(mask__pred_iou_thresh=1.0).seed(loaded(TWO, (RED, GREEN)))
    assert (seed.labels == 255).all()
    assert seed.notes[0] == "no mask for red, green: uncovered pixels are ignored"


def test_part_phrases_are_detected_on_demand(make):
    classes = replace(CLASSES, part_phrases={"red": ("rose",)})
    for part, phrases in ((False, ["red"]), (True, ["red", "rose"])):
        detector = ColourDetector()
        make(detector, classes, detector__part_phrases=part).seed(loaded(TWO, (RED,)))
        assert detector.captions == [[phrases]]


def test_plain_is_detector_and_sam_alone(make, clip, monkeypatch):
    """One caption of all classes, boxes above 0.30 in the detector's order, nothing ignored, no CLIP."""
    monkeypatch.setattr(type(clip), "encode_views", None)
    image = picture((RED, 0.29, 5, 5, 45, 40), (GREEN, 0.31, 50, 30, 95, 75))
    for labels in (None, (RED, GREEN)):
        detector = ColourDetector()
        preset = {key.replace(".", "__"): value for key, value in PRESETS["plain"].items()}
        seed = make(detector, **preset, detector__caption="per_class").seed(loaded(image, labels))
        assert [(name, role) for name, role, _ in found(seed) if role != "dropped"] == [("green", "confident")]
        assert set(np.unique(seed.labels)) == {0, GREEN + 1}
    seed = make(ColourDetector(), **preset).seed(loaded(picture((RED, 0.2, 5, 5, 45, 40))))
    assert not seed.labels.any()
    detector = ColourDetector()
    make(detector, **preset).seed(loaded(image))
    assert detector.captions == [[["red"], ["green"], ["blue"]]]


def test_settings_are_flat_json(make):
    seeder = make()
    assert json.loads(json.dumps(seeder.settings)) == seeder.settings
    assert seeder.settings == flatten(override(Settings(), OPEN))


def test_thresholds_of_a_class_set_are_not_those_of_the_baseline():
    """VOC's dining tables have a threshold of their own, but with the preset all classes are treated alike."""
    models = ModelSet("tiny", "cpu")
    key = "ignore.confident_threshold_label_free.diningtable"
    request = BackendRequest(load_class_set("voc"), models, {})
    assert build(request).settings[key] == 0.4
    assert key not in build(request, preset="plain").settings
    own = BackendRequest(load_class_set("voc"), models, {key: 0.5})
    assert build(own, preset="plain").settings[key] == 0.5
