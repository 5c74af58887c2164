"""What training sees: random crops of images and masks, made ahead by worker processes and the same after every resume.

A crop depends on the seed and on its position in the stream alone, so neither the number of workers nor an
interruption changes what a network sees.
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
from ..data.shuffle import dice_at, image_at
from ..errors import ImageError, WsssError
from ..io.signals import leave_to_the_parent
from .checkpoint import MEAN, Scale
from .settings import AugmentSettings

log = logging.getLogger(__name__)

_FILL = tuple(round(255 * value) for value in MEAN)
_TRIES = 10


@dataclass(frozen=True)
class Source:
    """Where crops come from. Its functions are called in worker processes.

    Attributes:
        samples: the images, in order.
        image: reads a sample's pixels, uint8 (H, W, 3).
        labels: reads its label map, uint8 (H, W), 255 ignored.
        confidence: reads its confidence, uint8 (H, W); None where pixels are not weighted.
    """

    samples: Sequence[Sample]
    image: Callable[[Sample], np.ndarray]
    labels: Callable[[Sample], np.ndarray]
    confidence: Callable[[Sample], np.ndarray] | None = None


class Crops(TorchDataset[tuple[torch.Tensor, ...]]):
    """The crop at each position of the endless stream: uint8 (3, crop, crop), labels uint8 (crop, crop), and confidence
    alike where the source has it.

    An image that cannot be read is replaced by the next one, with a warning.
    """

    def __init__(self, source: Source, settings: AugmentSettings, seed: int) -> None:
        self.source, self.settings, self.seed = source, settings, seed
        self._warned: set[str] = set()

    def __getitem__(self, position: int) -> tuple[torch.Tensor, ...]:
        first = image_at(position, len(self.source.samples), self.seed)
        for step in range(len(self.source.samples)):
            sample = self.source.samples[(first + step) % len(self.source.samples)]
            try:
                parts = self._read(sample)
            except ImageError as error:
                if sample.id not in self._warned:
                    self._warned.add(sample.id)
                    log.warning("left out: %s", error)
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(dice_at(position, self.seed).integers(2**62)))
                return augment(parts, self.settings)
        raise WsssError("no image can be read any more; see the messages above")

    def _read(self, sample: Sample) -> list[torch.Tensor]:
        source = self.source
        image = tv_tensors.Image(torch.from_numpy(source.image(sample)).permute(2, 0, 1))
        maps = [read(sample) for read in (source.labels, source.confidence) if read is not None]
        return [image, *(tv_tensors.Mask(torch.from_numpy(values)) for values in maps)]


def augment(parts: Sequence[torch.Tensor], settings: AugmentSettings) -> tuple[torch.Tensor, ...]:
    """A random crop of image and maps alike; chance comes from torch's generator.

    Args:
        parts: an Image uint8 (3, H, W), its labels, Mask uint8 (H, W), and perhaps further masks of this size.
        settings: ranges.

    Returns:
        The same of side ``settings.crop_size``, as plain tensors. Beyond the image labels are 255.
    """
    height, width = parts[0].shape[-2:]
    size = Scale(settings.shortest_edge, settings.longest_edge).size(height, width, _ratio(settings))
    if size != (height, width):
        parts = [F.resize(part, list(size)) for part in parts]  # masks by nearest neighbour
    short = [max(0, settings.crop_size - side) for side in size]
    if any(short):
        fills: list[object] = [list(_FILL), *([IGNORE] * (len(parts) - 1))]
        parts = [F.pad(p, [0, 0, short[1], short[0]], fill=f) for p, f in zip(parts, fills, strict=True)]  # type: ignore[arg-type]
    top, left = _place(parts[1], settings)
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


def _place(labels: torch.Tensor, settings: AugmentSettings) -> tuple[int, int]:
    """Top and left of the crop: the first of ten draws in which no category is more than its share, else the last."""
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


def stream(
    source: Source,
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
    """The micro-batches of one process, ``accumulate`` for each iteration from ``start`` to ``stop``.

    Args:
        source, settings, seed: of the crops.
        batch: images of an iteration, a multiple of ``accumulate`` times the processes.
        accumulate: parts into which each process divides its images of an iteration.
        start, stop: iterations.
        share: this process's index and how many there are.
        workers: processes that make crops; 0 makes them in this one.
        pin: whether batches are put into memory from which a GPU copies faster.
    """
    size = batch // (accumulate * share[1])
    order = _Order(batch, size, range(start, stop), accumulate, share)
    return DataLoader(
        Crops(source, settings, seed),
        batch_sampler=order,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals,
    )


def _leave_signals(_: int) -> None:
    leave_to_the_parent()


@dataclass(frozen=True)
class _Order:
    """The positions of each micro-batch."""

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
