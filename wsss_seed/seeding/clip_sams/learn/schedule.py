"""Learning rate schedule, a function of the iteration alone, so that a resumed run cannot differ."""

from __future__ import annotations

import math

from .settings import PromptTrainSettings


def learning_rate(iteration: int, settings: PromptTrainSettings) -> float:
    """Learning rate at an iteration, counted from 0: constant ``warmup_lr`` during warm-up, then a cosine from the peak
    to 0 over the remaining iterations."""
    if iteration < settings.warmup_iters:
        return settings.warmup_lr
    length = max(1, settings.max_iters - settings.warmup_iters)
    return settings.lr * (1 + math.cos(math.pi * (iteration - settings.warmup_iters) / length)) / 2
