"""What seeds and segmenter say together, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.data.base import Sample
from wsss_seed.errors import ImageError
from wsss_seed.segmenter.agreement import AgreementFilter, AgreementSettings, SoftLabels, agreement
from wsss_seed.types import LoadedSample

IGNORE_THEM, WEIGH = AgreementSettings(confidence_threshold=0), AgreementSettings("weigh", confidence_threshold=0)


def opinion(labels, confidence) -> SoftLabels:
    return SoftLabels(np.array([labels], np.uint8), np.array([confidence], np.float32))


# One pixel for each case: agreed (seed surer, prediction surer), differing (likewise, and equal), only the seed, only
# the prediction (sure, at the limit, unsure), neither.
SEED = opinion([3, 3, 3, 3, 0, 2, 255, 255, 255, 255], [0.75, 0.25, 0.75, 0.25, 0.5, 0.5, 0, 0, 0, 0])
PREDICTION = opinion([3, 3, 1, 0, 4, 255, 5, 0, 6, 255], [0.5, 0.5, 0.5, 1.0, 0.5, 0.25, 1, 0.9, 0.75, 0.5])


def test_disagreement_becomes_255():
    labels, confidence = agreement(SEED, PREDICTION, IGNORE_THEM)
    assert labels[0].tolist() == [3, 3, 255, 255, 255, 2, 5, 0, 6, 255]
    assert np.allclose(confidence[0], [0.75, 0.5, 0, 0, 0, 0.5, 1, 0.9, 0.75, 0])
    assert (labels.dtype, confidence.dtype) == (np.uint8, np.float32)


def test_disagreement_is_weighed():
    labels, confidence = agreement(SEED, PREDICTION, WEIGH)
    assert labels[0].tolist() == [3, 3, 3, 0, 0, 2, 5, 0, 6, 255]
    assert np.allclose(confidence[0], [0.75, 0.5, 0.25, 0.75, 0, 0.5, 1, 0.9, 0.75, 0])


@pytest.mark.parametrize(("disagreement", "disputed", "weight"), [("ignore", 255, 0), ("weigh", 0, 0.75)])
def test_an_unsure_prediction_is_none(disagreement, disputed, weight):
    labels, confidence = agreement(SEED, PREDICTION, AgreementSettings(disagreement, confidence_threshold=0.9))
    assert labels[0].tolist() == [3, 3, 3, disputed, 0, 2, 5, 0, 255, 255]
    assert np.allclose(confidence[0], [0.75, 0.25, 0.75, weight, 0.5, 0.5, 1, 0.9, 0, 0])


def random_labels(seed: int) -> SoftLabels:
    dice = np.random.default_rng(seed)
    labels = dice.choice(np.array([0, 1, 2, 255], np.uint8), (40, 50))
    return SoftLabels(labels, dice.random((40, 50), np.float32))


@pytest.mark.parametrize("settings", [IGNORE_THEM, WEIGH])
def test_no_label_that_neither_gave(settings):
    seed, prediction = random_labels(0), random_labels(1)
    before = [part.copy() for part in (*seed, *prediction)]
    labels, confidence = agreement(seed, prediction, settings)
    known = labels != 255
    assert ((labels == seed.labels) | (labels == prediction.labels))[known].all()
    assert (confidence[~known] == 0).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    for part, was in zip((*seed, *prediction), before, strict=True):
        assert np.array_equal(part, was)


def test_with_ignore_a_label_of_the_seed_is_never_exchanged():
    seed = random_labels(0)
    labels, _ = agreement(seed, random_labels(1), IGNORE_THEM)
    kept = (labels != 255) & (seed.labels != 255)
    assert kept.any()
    assert np.array_equal(labels[kept], seed.labels[kept])


@pytest.mark.parametrize("settings", [IGNORE_THEM, WEIGH])
def test_a_segmenter_that_says_the_same_changes_nothing(settings):
    seed = random_labels(2)
    labels, confidence = agreement(seed, seed, settings)
    assert np.array_equal(labels, seed.labels)
    assert np.array_equal(confidence, np.where(seed.labels == 255, 0, seed.confidence))


def test_maps_of_different_sizes():
    small = SoftLabels(np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="a prediction of"):
        agreement(random_labels(0), small)
    fuser = AgreementFilter(lambda _: random_labels(0), lambda _: small, IGNORE_THEM, {})
    with pytest.raises(ImageError, match="x: a seed of"):
        fuser.seed(LoadedSample(Sample("x"), np.zeros((40, 50, 3), np.uint8)))


def test_as_a_seeder():
    fuser = AgreementFilter(lambda _: SEED, lambda _: PREDICTION, IGNORE_THEM, {"segmenter": "abc"})
    assert fuser.settings == {"disagreement": "ignore", "confidence_threshold": 0.0, "segmenter": "abc"}
    seed = fuser.seed(LoadedSample(Sample("x"), np.zeros((1, 10, 3), np.uint8)))
    assert seed.labels[0].tolist() == [3, 3, 255, 255, 255, 2, 5, 0, 6, 255]
    assert seed.present == (1, 2, 4, 5)
    assert seed.scores == {1: 0.5, 2: 0.75, 4: 1.0, 5: 0.75}
    assert seed.evidence == {"agreed": 0.3}
