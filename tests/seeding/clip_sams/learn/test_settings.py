"""Settings of prompt learning: the published recipes are within them, and wrong values are refused."""

import pytest

from wsss_seed.config import flatten, override
from wsss_seed.errors import UsageError
from wsss_seed.seeding.clip_sams.learn.settings import LearnSettings
from wsss_seed.seeding.clip_sams.presets import load_preset, presets
from wsss_seed.seeding.clip_sams.settings import CamSettings


def test_the_defaults_are_the_published_classification_task_on_voc():
    assert flatten(override(LearnSettings(), load_preset("fma-voc").learn["cls"])) == flatten(LearnSettings())


@pytest.mark.parametrize("name", presets())
def test_the_tasks_of_a_preset_stop_within_their_schedule(name):
    for values in load_preset(name).learn.values():
        train = override(LearnSettings(), values).train
        assert 0 <= train.stop_iter <= train.max_iters
        assert train.warmup_iters < (train.stop_iter or train.max_iters)


def test_maps_have_the_settings_of_the_backend_that_will_use_the_prompts():
    assert LearnSettings().cam == CamSettings()


@pytest.mark.parametrize("value", [[288], [288, 384, 480], [480, 288], []])
def test_a_range_that_is_none_is_refused_by_its_key(value):
    with pytest.raises(UsageError, match=r"augment\.longest_edge_range = .*the lower one first"):
        override(LearnSettings(), {"augment.longest_edge_range": value})
    assert override(LearnSettings(), {"augment.longest_edge_range": [300, 300]}).augment.longest_edge_range == (
        300,
        300,
    )
