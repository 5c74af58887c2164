"""The order of images in training and the dice of each, functions of a position alone, so that a resumed run cannot
differ."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def shuffled_index(position: int, images: int, seed: int) -> int:
    """Which image stands at a position of the endless stream: every epoch is a permutation of its own."""
    epoch, place = divmod(position, images)
    return int(_order(epoch, images, seed)[place])


def rng_at(position: int, seed: int) -> np.random.Generator:
    """The dice of the augmentation at a position of the stream."""
    return np.random.default_rng([seed, 1, position])


@lru_cache(maxsize=4)
def _order(epoch: int, images: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(images)
