"""Random crops for prompt learning, prefetched in threads and reproducible after a resume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from ....data.base import Sample
from ....data.classes import IGNORE
from ....data.shuffle import rng_at, shuffled_index
from ....errors import ImageError
from ....io.prefetch import prefetch_map
from .augment import augment
from .settings import LearnSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropBatch:
    """A micro-batch of n crops.

    Attributes:
        pixels: uint8 (n, 3, crop_size, crop_size) RGB.
        labels: bool (n, K) image-level labels.
        label_maps: uint8 (n, crop_size, crop_size); None where the task needs none.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    label_maps: torch.Tensor | None


@dataclass(frozen=True)
class PromptTrainingData:
    """The images that prompts are learned from.

    Attributes:
        samples: samples with image-level labels, in order.
        image: reads the image of a sample, upright, uint8 (H, W, 3).
        label_map: reads the coarse seed of a sample, upright, uint8 (H, W); None where the task needs none.
        classes: number of classes K.
    """

    samples: Sequence[Sample]
    image: Callable[[Sample], np.ndarray]
    label_map: Callable[[Sample], np.ndarray] | None
    classes: int


def crop_batches(
    data: PromptTrainingData,
    settings: LearnSettings,
    seed: int,
    start: int,
    stop: int,
    share: tuple[int, int] = (0, 1),
    workers: int = 2,
) -> Generator[list[CropBatch], None, None]:
    """The micro-batches of each iteration from ``start`` to ``stop``.

    An image that cannot be read is left out of its micro-batch, with a warning.

    Args:
        data: the images.
        settings: settings of the task.
        seed: random seed of order and augmentation.
        start, stop: range of iterations.
        share: (index, n): each of n processes takes every n-th micro-batch of an iteration.
        workers: threads that make crops.
    """
    train = settings.train
    warned: set[str] = set()

    def crop(position: int) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor] | None:
        sample = data.samples[shuffled_index(position, len(data.samples), seed)]
        try:
            image = data.image(sample)
            label_map = None if data.label_map is None else data.label_map(sample)
        except ImageError as error:
            if sample.id not in warned:
                warned.add(sample.id)
                log.warning("left out: %s", error)
            return None
        pixels, label_crop = augment(image, label_map, settings.augment, rng_at(position, seed))
        present = torch.zeros(data.classes, dtype=torch.bool)
        if train.labels == "crop" and label_crop is not None:
            values = torch.unique(label_crop).long()
            present[values[(values > 0) & (values != IGNORE)] - 1] = True
        else:
            present[list(sample.labels or ())] = True
        return pixels, label_crop, present

    own = range(share[0], train.gradient_accumulation_steps, share[1])
    positions = (
        (iteration * train.gradient_accumulation_steps + micro) * train.batch_size + i
        for iteration in range(start, stop)
        for micro in own
        for i in range(train.batch_size)
    )
    size = settings.augment.crop_size
    with closing(prefetch_map(crop, positions, workers=workers, depth=2 * train.batch_size)) as crops:
        for _ in range(start, stop):
            batch = []
            for _ in own:
                parts = [next(crops)[1].result() for _ in range(train.batch_size)]
                found = [p for p in parts if p is not None]
                label_maps = [p[1] for p in found if p[1] is not None]
                batch.append(
                    CropBatch(
                        torch.stack([p[0] for p in found]) if found else torch.zeros(0, 3, size, size).byte(),
                        torch.stack([p[2] for p in found]) if found else torch.zeros(0, data.classes).bool(),
                        torch.stack(label_maps) if label_maps else None,
                    )
                )
            yield batch
