"""The endless stream of random crops that learning sees, made ahead in threads and the same after every resume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from ....data.base import Sample
from ....data.classes import IGNORE
from ....data.shuffle import dice_at, image_at
from ....errors import ImageError
from ....io.prefetch import ahead
from .augment import augment
from .settings import LearnSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crops:
    """A micro-batch of n crops.

    Attributes:
        pixels: uint8 (n, 3, crop, crop) RGB.
        labels: bool (n, K), the classes of each.
        seeds: uint8 (n, crop, crop) label maps; None where the task needs none.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    seeds: torch.Tensor | None


@dataclass(frozen=True)
class Source:
    """Where crops come from.

    Attributes:
        samples: the images with labels, in order.
        image: reads a sample's pixels, uint8 (H, W, 3).
        seed: reads a sample's coarse seed, uint8 (H, W); None where the task needs none.
        classes: K.
    """

    samples: Sequence[Sample]
    image: Callable[[Sample], np.ndarray]
    seed: Callable[[Sample], np.ndarray] | None
    classes: int


def stream(
    source: Source,
    settings: LearnSettings,
    seed: int,
    start: int,
    stop: int,
    share: tuple[int, int] = (0, 1),
    workers: int = 2,
) -> Generator[list[Crops], None, None]:
    """The micro-batches of each iteration from ``start`` to ``stop``.

    An image that cannot be read is left out of its micro-batch, with a warning.

    Args:
        source: the images.
        settings: of the task.
        seed: of order and augmentation.
        start, stop: iterations.
        share: (index, n): of several processes each takes every n-th micro-batch of an iteration.
        workers: threads.
    """
    train = settings.train
    warned: set[str] = set()

    def crop(position: int) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor] | None:
        sample = source.samples[image_at(position, len(source.samples), seed)]
        try:
            image = source.image(sample)
            labels = None if source.seed is None else source.seed(sample)
        except ImageError as error:
            if sample.id not in warned:
                warned.add(sample.id)
                log.warning("left out: %s", error)
            return None
        pixels, labels_crop = augment(image, labels, settings.augment, dice_at(position, seed))
        present = torch.zeros(source.classes, dtype=torch.bool)
        if train.labels == "crop" and labels_crop is not None:
            values = torch.unique(labels_crop).long()
            present[values[(values > 0) & (values != IGNORE)] - 1] = True
        else:
            present[list(sample.labels or ())] = True
        return pixels, labels_crop, present

    own = range(share[0], train.gradient_accumulation_steps, share[1])
    positions = (
        (iteration * train.gradient_accumulation_steps + micro) * train.batch_size + i
        for iteration in range(start, stop)
        for micro in own
        for i in range(train.batch_size)
    )
    size = settings.augment.crop_size
    with closing(ahead(crop, positions, workers=workers, depth=2 * train.batch_size)) as crops:
        for _ in range(start, stop):
            batch = []
            for _ in own:
                parts = [next(crops)[1].result() for _ in range(train.batch_size)]
                found = [p for p in parts if p is not None]
                seeds = [p[1] for p in found if p[1] is not None]
                batch.append(
                    Crops(
                        torch.stack([p[0] for p in found]) if found else torch.zeros(0, 3, size, size).byte(),
                        torch.stack([p[2] for p in found]) if found else torch.zeros(0, source.classes).bool(),
                        torch.stack(seeds) if seeds else None,
                    )
                )
            yield batch
