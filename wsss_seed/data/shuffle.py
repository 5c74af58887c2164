"""Order of images and random generators in training, functions of the position alone, so that a resumed run cannot
differ."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def shuffled_index(position: int, images: int, seed: int) -> int:
    """Index of the image at a position of the endless stream; every epoch is a different permutation."""
    epoch, index = divmod(position, images)
    return int(_order(epoch, images, seed)[index])


def rng_at(position: int, seed: int) -> np.random.Generator:
    """Random generator of the augmentation at a position of the stream."""
    return np.random.default_rng([seed, 1, position])


@lru_cache(maxsize=4)
def _order(epoch: int, images: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(images)
