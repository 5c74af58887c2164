"""Learning rate and order of images, each a function of the iteration alone, so that a resumed run cannot differ."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .settings import TrainSettings


def learning_rate(iteration: int, settings: TrainSettings) -> float:
    """The rate of an iteration (from 0): constant ``warmup_rate`` during warm-up, then the peak and a cosine to 0 over
    the remaining iterations (A2.4; a ramp would be another training, T26)."""
    if iteration < settings.warmup:
        return settings.warmup_rate
    length = max(1, settings.iterations - settings.warmup)
    return settings.rate * (1 + math.cos(math.pi * (iteration - settings.warmup) / length)) / 2


def image_at(position: int, images: int, seed: int) -> int:
    """Which image stands at a position of the endless stream: every epoch is a permutation of its own."""
    epoch, place = divmod(position, images)
    return int(_order(epoch, images, seed)[place])


def dice_at(position: int, seed: int) -> np.random.Generator:
    """The dice of the augmentation at a position of the stream."""
    return np.random.default_rng([seed, 1, position])


@lru_cache(maxsize=4)
def _order(epoch: int, images: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(images)
