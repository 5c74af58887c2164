"""Measuring what a CPU is fast at."""

from __future__ import annotations

import torch

from wsss_seed.models import cpu


def test_a_ratio_is_that_of_the_work():
    small, large = torch.ones(64, 64), torch.ones(512, 512)
    assert cpu.ratio(lambda: large @ large, lambda: small @ small) > 10


def test_ratios_are_measured_on_one_thread():
    before, seen = torch.get_num_threads(), []
    cpu.ratio(lambda: seen.append(torch.get_num_threads()), lambda: sum(range(1000)), 2)
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


def test_fp16_is_measured_once():
    cpu.fp16_slowdown.cache_clear()
    assert cpu.fp16_slowdown() > 0
    assert cpu.fp16_slowdown() is cpu.fp16_slowdown()
