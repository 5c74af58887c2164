"""Backends by name."""

import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import UsageError
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest, backends, build_seeder
from wsss_seed.seeding.clip_sams import ClipSams
from wsss_seed.seeding.dino_sam import DinoSam


@pytest.fixture(scope="module")
def request_() -> BackendRequest:
    return BackendRequest(load_class_set("toyland"), ModelSet("tiny", "cpu"))


def test_our_own_are_registered_like_anybody_s():
    assert {"clip-sams", "dino-sam", "sam3"} <= set(backends())


def test_each_takes_its_own_models_and_options(request_):
    assert isinstance(build_seeder("dino-sam", request_), DinoSam)
    seeder = build_seeder("clip-sams", request_, {"stage": "coarse"})
    assert isinstance(seeder, ClipSams)
    assert seeder.settings["stage"] == "coarse"
    assert not seeder.needs_boxes


def test_unknown_names_and_options_of_others(request_):
    with pytest.raises(UsageError, match=r"unknown backend 'dino'.*Did you mean 'dino-sam'"):
        build_seeder("dino", request_)
    with pytest.raises(UsageError, match="backend 'dino-sam' has no prompts; "):
        build_seeder("dino-sam", request_, {"prompts": "handwritten"})
