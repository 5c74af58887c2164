"""Which settings can be replayed, and under which an image is seeded for the answers of the models."""

from __future__ import annotations

import pytest

from wsss_seed.config import flatten, override
from wsss_seed.errors import UsageError
from wsss_seed.seeding.detection.replay import check_replayable, settings_ahead
from wsss_seed.seeding.dino_sam.settings import Settings
from wsss_seed.seeding.sam3.settings import Settings as Sam3Settings


@pytest.mark.parametrize("settings", [Settings(), Sam3Settings()], ids=["dino-sam", "sam3"])
def test_settings_ahead_are_settings(settings):
    flat = flatten(settings)
    for mode, changes in settings_ahead(flat).items():
        assert changes
        for change in changes:
            assert flatten(override(settings, change))["mode"] == mode
    assert {c.get("mask.output") for c in settings_ahead(flatten(Settings()))["label_free"]} == {"single", "best"}


def test_settings_that_can_be_replayed():
    check_replayable(flatten(Settings()))
    check_replayable(flatten(Sam3Settings()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            override(Settings(), {"detector.rescue_threshold": 0.02}),
            "`detector.rescue_threshold` 0.02: only scores from",
        ),
        (override(Settings(), {"mask.box_expand": 0.5}), "`mask.box_expand` 0.5: masks are kept up to 0.25"),
        (override(Settings(), {"mode": "boxes_given"}), "mode boxes_given needs ground-truth boxes"),
    ],
)
def test_settings_that_cannot(settings, message):
    with pytest.raises(UsageError, match=message):
        check_replayable(flatten(settings))


def test_a_class_s_own_threshold_counts():
    with pytest.raises(UsageError, match=r"`detector\.box_threshold` 0\.01"):
        check_replayable({**flatten(Settings()), "detector.box_threshold.car": 0.01})
