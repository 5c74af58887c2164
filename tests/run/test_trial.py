"""Settings tried on single photographs."""

import numpy as np
import pytest
from PIL import Image

from tests.small_hf import sam3, saved
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.errors import ImageError, UsageError
from wsss_seed.models.zoo import ModelSet
from wsss_seed.run.trial import Trial
from wsss_seed.run.trial_picture import draw_cell
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.types import LoadedSample

CLASSES = load_class_set("toyland")
WORLD = Toyland(CLASSES, "test", 2, difficulty="hard")


@pytest.fixture(scope="module")
def models():
    return ModelSet("tiny", "cpu").for_backend("dino-sam")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "b.png"
    Image.fromarray(WORLD.image(WORLD[1])).save(path)
    return path


@pytest.fixture
def calls(models, monkeypatch):
    """The number of calls of each real model."""
    found = dict.fromkeys(("detect", "embed", "encode_views"), 0)
    for owner, name in ((models.detector, "detect"), (models.sam, "embed"), (models.clip, "encode_views")):
        real = getattr(owner, name)

        def count(*args, name=name, real=real, **kwargs):
            found[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, count)
    return found


def test_models_run_once_for_what_settings_share(models, photo, calls):
    Trial("dino-sam", CLASSES, models, [{}])(photo)
    once = dict(calls)
    later = [{"fusion.order": "score"}, {"ignore.boundary": 2}, {"mask.min_region_area": 0}]
    Trial("dino-sam", CLASSES, models, [{}, *later])(photo)
    assert {name: n - once[name] for name, n in calls.items()} == once
    before = dict(calls)
    Trial("dino-sam", CLASSES, models, [{}, {"detector.caption": "per_class"}])(photo)
    assert calls["detect"] - before["detect"] > once["detect"]
    assert calls["embed"] - before["embed"] == once["embed"]


@pytest.mark.parametrize(
    "settings",
    [
        [{"box_threshold": 0.2}, {"box_threshold": 0.5}, {"mask.output": "best", "verify.crop": "square"}],
        [{}, {"detector.rescue_threshold": 0.01}],  # lower than the scores that are recorded
        [{}, {"mask.box_expand": 0.5}],
        [{}, {"clip.scores": "patches"}],
    ],
)
def test_the_seeds_are_those_of_each_setting_alone(models, photo, settings):
    tried = Trial("dino-sam", CLASSES, models, settings)(photo)
    image = WORLD.image(WORLD[1])
    for own, found in zip(settings, tried, strict=True):
        seeder = build_seeder("dino-sam", BackendRequest(CLASSES, models, own))
        seed = seeder.seed(LoadedSample(Sample("b"), image))
        assert (found.seed.labels == seed.labels).all()
        assert np.abs(found.seed.confidence - seed.confidence).max() < 1e-4
        assert (found.image == image).all()
        assert len(found.explanation.reasons) == len(seed.evidence["detections"]) > 2
        assert found.explanation.record.pixels == {
            name: int((seed.labels == i).sum())
            for i, name in enumerate(("background", *CLASSES.names))
            if (seed.labels == i).any()
        }


def test_one_photograph_does_not_answer_for_another(models, photo, tmp_path):
    other = tmp_path / "a.png"
    Image.fromarray(WORLD.image(WORLD[0])).save(other)
    trial = Trial("dino-sam", CLASSES, models, [{}, {"box_threshold": 0.6}])
    first = [t.seed.labels for t in trial(photo)]
    assert trial(other)[0].seed.labels.shape != first[0].shape
    for again, labels in zip(trial(photo), first, strict=True):
        assert (again.seed.labels == labels).all()


def test_what_is_refused(models, tmp_path):
    with pytest.raises(UsageError, match="clip-sams needs to know the classes in the photographs"):
        Trial("clip-sams", CLASSES, models, [{}])
    with pytest.raises(UsageError, match="ground-truth boxes"):
        Trial("dino-sam", CLASSES, models, [{}, {"mode": "boxes_given"}])
    with pytest.raises(ImageError, match=r"none\.jpg: cannot be read"):
        Trial("dino-sam", CLASSES, models, [{}])(tmp_path / "none.jpg")


def test_sam3(tmp_path, photo):
    """With a small random SAM 3, whose scores mean nothing."""
    models = ModelSet("tiny", "cpu", sam=f"hf:{saved(tmp_path / 'sam3', *sam3())}").for_backend("sam3")
    low = {"box_threshold": 0.1, "sam3.ambiguous_threshold": 0.1, "ignore.confident_threshold": 0.0}
    given = (CLASSES.names.index("tree"),)
    tried = Trial("sam3", CLASSES, models, [low, {**low, "box_threshold": 0.9}], labels=given)(photo)
    assert [one.explanation.mode for one in tried] == ["label_given"] * 2
    assert len(tried[0].explanation.boxes) > 0
    assert all(draw_cell(one, CLASSES.palette).picture.height == 1000 for one in tried)
