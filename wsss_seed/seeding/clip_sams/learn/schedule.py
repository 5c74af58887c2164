"""The learning rate, a function of the iteration alone, so that a resumed run cannot differ."""

from __future__ import annotations

import math

from .settings import PromptTrainSettings


def learning_rate(iteration: int, settings: PromptTrainSettings) -> float:
    """The rate of an iteration (from 0): constant ``warmup_rate`` during warm-up, then the peak and a cosine to 0 over
    the remaining iterations (A2.4; a ramp would be another training, T26)."""
    if iteration < settings.warmup_iters:
        return settings.warmup_lr
    length = max(1, settings.max_iters - settings.warmup_iters)
    return settings.lr * (1 + math.cos(math.pi * (iteration - settings.warmup_iters) / length)) / 2
