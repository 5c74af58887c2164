"""The learning rate, a function of the iteration alone, so that a resumed run cannot differ."""

from __future__ import annotations

import math

from .settings import TrainSettings


def learning_rate(iteration: int, settings: TrainSettings) -> float:
    """The rate of an iteration (from 0): constant ``warmup_rate`` during warm-up, then the peak and a cosine to 0 over
    the remaining iterations, as in FMA-WSSS's released code (arXiv 2312.03585): no linear ramp."""
    if iteration < settings.warmup:
        return settings.warmup_rate
    length = max(1, settings.iterations - settings.warmup)
    return settings.rate * (1 + math.cos(math.pi * (iteration - settings.warmup) / length)) / 2
