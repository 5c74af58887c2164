"""The learning rate of prompt learning."""

import math
from dataclasses import replace

import pytest

from wsss_seed.seeding.clip_sams.learn.schedule import learning_rate
from wsss_seed.seeding.clip_sams.learn.settings import PromptTrainSettings


def test_warm_up_is_constant_then_a_cosine_to_zero():
    """1e-5 for 500 iterations, a jump to 1e-3, a cosine over the remaining 1300."""
    train = PromptTrainSettings()
    assert {learning_rate(i, train) for i in range(500)} == {1e-5}
    assert learning_rate(500, train) == 1e-3
    assert learning_rate(1150, train) == pytest.approx(5e-4)
    assert learning_rate(1799, train) == pytest.approx(1e-3 * (1 + math.cos(math.pi * 1299 / 1300)) / 2)
    assert (
        learning_rate(6150, replace(train, warmup_iters=1000, max_iters=20500)) > 8e-4
    )  # COCO stops long before the end
