"""Random crops of images and label maps, prefetched by worker processes and reproducible after a resume.

A crop depends on the random seed and its position in the stream alone, so neither the number of workers nor an
interruption changes the training data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ..data.base import Sample
from ..data.classes import IGNORE
from ..data.shuffle import rng_at, shuffled_index
from ..errors import ImageError, UsageError
from ..io.signals import leave_signals_to_parent
from .checkpoint import MEAN, Scale
from .settings import AugmentSettings

log = logging.getLogger(__name__)

_FILL = tuple(round(255 * value) for value in MEAN)
_TRIES = 10  # as mmsegmentation's RandomCrop


@dataclass(frozen=True)
class TrainingData:
    """Images and label maps to train on. The functions are called in worker processes.

    Attributes:
        samples: the samples, in order.
        image: reads the image of a sample, uint8 (H, W, 3).
        labels: reads its label map, uint8 (H, W).
        confidence: reads its confidence map, uint8 (H, W); None where pixels are not weighted.
    """

    samples: Sequence[Sample]
    image: Callable[[Sample], np.ndarray]
    labels: Callable[[Sample], np.ndarray]
    confidence: Callable[[Sample], np.ndarray] | None = None


class CropDataset(TorchDataset[tuple[torch.Tensor, ...]]):
    """The crop at each position of the endless stream: image uint8 (3, crop_size, crop_size), labels uint8 (crop_size,
    crop_size), and confidence likewise where there is one.

    An image that cannot be read is replaced by the next one, with a warning.
    """

    def __init__(self, data: TrainingData, settings: AugmentSettings, seed: int) -> None:
        self.data, self.settings, self.seed = data, settings, seed
        self._warned: set[str] = set()

    def __getitem__(self, position: int) -> tuple[torch.Tensor, ...]:
        index = shuffled_index(position, len(self.data.samples), self.seed)
        for step in range(len(self.data.samples)):
            sample = self.data.samples[(index + step) % len(self.data.samples)]
            try:
                parts = self._read(sample)
            except ImageError as error:
                if sample.id not in self._warned:
                    self._warned.add(sample.id)
                    log.warning("left out: %s", error)
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng_at(position, self.seed).integers(2**62)))
                return augment(parts, self.settings)
        raise UsageError("none of the images can be read; see the messages above")

    def _read(self, sample: Sample) -> list[torch.Tensor]:
        data = self.data
        image = tv_tensors.Image(torch.from_numpy(data.image(sample)).permute(2, 0, 1))
        maps = [read(sample) for read in (data.labels, data.confidence) if read is not None]
        return [image, *(tv_tensors.Mask(torch.from_numpy(values)) for values in maps)]


def augment(parts: Sequence[torch.Tensor], settings: AugmentSettings) -> tuple[torch.Tensor, ...]:
    """A random crop of image and maps together, with random numbers from torch's global generator.

    Args:
        parts: an Image uint8 (3, H, W), its labels, Mask uint8 (H, W), and optionally further masks of this size.
        settings: augmentation settings.

    Returns:
        Crops with side ``settings.crop_size``, as plain tensors. Padding has the ignore label.
    """
    height, width = parts[0].shape[-2:]
    size = Scale(settings.shortest_edge, settings.longest_edge).size(height, width, _ratio(settings))
    if size != (height, width):
        parts = [F.resize(part, list(size)) for part in parts]  # masks by nearest neighbour
    short = [max(0, settings.crop_size - side) for side in size]
    if any(short):
        fills: list[object] = [list(_FILL), *([IGNORE] * (len(parts) - 1))]
        parts = [F.pad(p, [0, 0, short[1], short[0]], fill=f) for p, f in zip(parts, fills, strict=True)]
    top, left = _crop_origin(parts[1], settings)
    parts = [F.crop(part, top, left, settings.crop_size, settings.crop_size) for part in parts]
    parts = v2.RandomHorizontalFlip(settings.flip_prob)(*parts)
    if settings.photometric_distortion:
        parts = v2.RandomPhotometricDistort()(*parts)
    return tuple(part.as_subclass(torch.Tensor).contiguous() for part in parts)


def _ratio(settings: AugmentSettings) -> float:
    (low, high), step = settings.ratio_range, settings.ratio_step
    if step:
        return low + step * int(torch.randint(round((high - low) / step) + 1, ()))
    return low + (high - low) * float(torch.rand(()))


def _crop_origin(labels: torch.Tensor, settings: AugmentSettings) -> tuple[int, int]:
    """Top and left of the crop: the first of ten draws in which no class exceeds ``cat_max_ratio``, else the last."""
    side = settings.crop_size
    free = [length - side + 1 for length in labels.shape]
    top = left = 0
    for _ in range(_TRIES):
        top, left = (int(torch.randint(n, ())) for n in free)
        if settings.cat_max_ratio == 1:
            break
        counts = torch.bincount(labels[top : top + side, left : left + side].flatten().int(), minlength=256)[:IGNORE]
        if 0 < counts.max() <= settings.cat_max_ratio * counts.sum() or free == [1, 1]:
            break
    return top, left


def crop_loader(
    data: TrainingData,
    settings: AugmentSettings,
    *,
    seed: int,
    batch: int,
    accumulate: int,
    start: int,
    stop: int,
    share: tuple[int, int] = (0, 1),
    workers: int = 2,
    pin: bool = False,
) -> DataLoader[tuple[torch.Tensor, ...]]:
    """The micro-batches of one process, ``accumulate`` per iteration from ``start`` to ``stop``.

    Args:
        data: images and label maps.
        settings: augmentation settings.
        seed: random seed of order and augmentation.
        batch: images per iteration, a multiple of ``accumulate`` times the number of processes.
        accumulate: micro-batches into which each process splits its images of an iteration.
        start, stop: range of iterations.
        share: index of this process and number of processes.
        workers: worker processes that make crops; 0 makes them in this process.
        pin: whether to use pinned memory, from which a GPU copies faster.
    """
    size = batch // (accumulate * share[1])
    sampler = _MicroBatches(batch, size, range(start, stop), accumulate, share)
    return DataLoader(
        CropDataset(data, settings, seed),
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals,
    )


def _leave_signals(_: int) -> None:
    leave_signals_to_parent()


@dataclass(frozen=True)
class _MicroBatches:
    """Batch sampler: the stream positions of each micro-batch."""

    batch: int
    size: int
    iterations: range
    accumulate: int
    share: tuple[int, int]

    def __len__(self) -> int:
        return len(self.iterations) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        index, count = self.share
        for iteration in self.iterations:
            for micro in range(self.accumulate):
                first = iteration * self.batch + (micro * count + index) * self.size
                yield list(range(first, first + self.size))
