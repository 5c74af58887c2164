"""Classification with CLIP's views, by hand-computed cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.rounding import assert_same
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.seeding.detection.classification import (
    candidates,
    class_scores,
    negatives,
    probabilities,
    relative_decision,
    text_features,
    view_boxes,
)


def test_views_are_the_image_and_half_overlapping_windows():
    """Windows of 2/(g+1) at a stride of 1/(g+1), g = 2 and 3: 14 views."""
    views = view_boxes(60, 120)
    assert views.shape == (14, 4)
    assert views.dtype == np.float32
    np.testing.assert_allclose(views[0], [0, 0, 120, 60])
    np.testing.assert_allclose(views[1:5], [[0, 0, 80, 40], [40, 0, 120, 40], [0, 20, 80, 60], [40, 20, 120, 60]])
    np.testing.assert_allclose(views[5:8], [[0, 0, 60, 30], [30, 0, 90, 30], [60, 0, 120, 30]])
    np.testing.assert_allclose(views[-1], [60, 30, 120, 60])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (128, 96)])
def test_every_view_has_an_area_inside_the_image(shape):
    views = view_boxes(*shape)
    assert (views[:, 2:] > views[:, :2]).all()
    assert (views >= 0).all()
    assert (views <= [shape[1], shape[0]] * 2).all()


def test_text_features_average_unit_vectors_over_templates_and_synonyms(clip):
    """Normalise each sentence, average over templates and synonyms, normalise."""
    features = text_features(clip, [["cat", "kitten"], ["dog"]], ["a {}.", "the {}."])
    cats = clip.encode_text(["a cat.", "the cat.", "a kitten.", "the kitten."]).mean(0)
    dogs = clip.encode_text(["a dog.", "the dog."]).mean(0)
    expected = torch.nn.functional.normalize(torch.stack([cats, dogs]), dim=1)
    assert_same(features, expected)
    assert features.dtype == np.float32


@pytest.mark.parametrize("templates", [[], ["a photo"]])
def test_templates_need_a_place_for_the_phrase(clip, templates):
    with pytest.raises(WsssError, match="templates"):
        text_features(clip, [["x"]], templates)


def test_background_phrases_that_name_a_class_are_dropped():
    """A keyboard is background for VOC, but a class of COCO."""
    classes = replace(
        load_class_set("cat, Keyboard"),
        phrases=(("cat", "kitten"), ("keyboard",)),
        background=("keyboard", "sky", "Kitten", "sea"),
    )
    assert negatives(classes) == ("sky", "sea")


def test_probabilities_are_a_softmax_over_foreground_and_background():
    """With scale 2: exp(2), exp(0), exp(-2) over their sum."""
    probs = probabilities(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), 2.0)
    e = np.exp([2.0, 0.0, -2.0])
    np.testing.assert_allclose(probs[0], e / e.sum(), rtol=1e-6)
    assert np.isfinite(probabilities(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]]), 1e4)).all()


def test_scores_mix_the_global_and_the_best_local_view():
    """s = 0.5 * s_glob + 0.5 * s_loc."""
    probs = np.array([[0.1, 0.5], [0.3, 0.2], [0.7, 0.1]], np.float32)
    glob, loc, score = class_scores(probs)
    np.testing.assert_allclose(glob, [0.1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(loc, [0.7, 0.2], rtol=1e-6)
    np.testing.assert_allclose(score, [0.4, 0.35], rtol=1e-6)
    np.testing.assert_allclose(class_scores(probs, 0.0)[2], glob, rtol=1e-6)
    np.testing.assert_allclose(class_scores(probs[:1])[2], glob, rtol=1e-6)


def test_candidates_reach_the_global_or_the_local_threshold():
    """s_glob >= 0.10 or s_loc >= 0.25, the bounds included."""
    glob = np.array([0.10, 0.09, 0.01, 0.30], np.float32)
    loc = np.array([0.11, 0.24, 0.25, 0.40], np.float32)
    score = (glob + loc) / 2
    assert candidates(glob, loc, score, 0.10, 0.25, 6, assume_present=True) == (0, 2, 3)
    assert candidates(glob, loc, score, 0.10, np.array([0.25, 0.2, 0.3, 0.5]), 6, assume_present=True) == (0, 1, 3)


def test_the_best_candidates_stay_and_one_always_does():
    """Truncated to the best by s; if none, the argmax of s. Among equals the lower class."""
    score = np.array([0.5, 0.7, 0.6, 0.6], np.float32)
    assert candidates(score, score, score, 0.1, 0.1, 2, assume_present=True) == (1, 2)
    weak = np.array([0.01, 0.03, 0.03], np.float32)
    assert candidates(weak, weak, weak, 0.1, 0.25, 6, assume_present=True) == (1,)
    assert candidates(weak, weak, weak, 0.1, 0.25, 6, assume_present=False) == ()


def test_relative_decision():
    """Kept iff s > min + 0.5 * (max - min); the bound is excluded; empty -> argmax."""
    assert relative_decision(np.array([0.0, 0.5, 1.0, 0.51])) == (2, 3)
    assert relative_decision(np.array([0.2, 0.8, 0.4])) == (1,)
    assert relative_decision(np.array([0.3, 0.3, 0.3])) == (0,)
    assert relative_decision(np.array([0.3])) == (0,)
    assert relative_decision(np.array([0.0, 0.5, 1.0, 0.2]), 0.1) == (1, 2, 3)
    assert relative_decision(np.array([0.0, 0.5, 1.0, 0.2]), 0.1, 2) == (1, 2)
    assert relative_decision(np.array([0.0, 0.5, 1.0, 0.2]), 1.0) == (2,)
