"""A dataset of painted rectangles and a seeder that finds them by colour: real work for the run room, without a model.

As a script: ``python painted.py OUT [--images N] [--pause SECONDS] [--shard I/N] [--overwrite] [--cut K] [--deadly I]
[--no-locks]`` seeds it and ends as the command line does. OUT may be a URL.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsss_seed.data.base import Boxes, Dataset, Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import ImageError, WsssError
from wsss_seed.io import lock
from wsss_seed.io.signals import exit_on_signal
from wsss_seed.io.source import Source, location
from wsss_seed.output import leases
from wsss_seed.output.identity import class_set_content
from wsss_seed.run.generate import generate
from wsss_seed.types import LoadedSample, Seed

CLASSES = ClassSet(
    name="paint",
    names=("red", "green", "blue"),
    phrases=(("red",), ("green",), ("blue",)),
    prompts=("red", "green", "blue"),
    background=("grey",),
    palette=voc_palette(),
)
COLOURS = np.array([[128, 128, 128], [220, 30, 30], [30, 200, 30], [30, 30, 220]])


def paint(index: int, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3) and label map uint8 (H, W) number ``index``, rarely square."""
    dice = np.random.default_rng(index)
    height, width = dice.integers(side // 2, side, 2)
    labels = np.zeros((height, width), dtype=np.uint8)
    for label in dice.permutation(3)[: dice.integers(1, 4)] + 1:
        top, left = dice.integers(0, height - 5), dice.integers(0, width - 5)
        labels[top : top + dice.integers(5, 20), left : left + dice.integers(5, 20)] = label
    image = COLOURS[labels] + dice.normal(0, 25, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), labels


class Painted(Dataset):
    """``images`` painted images in two folders; those of ``broken`` cannot be read."""

    name, split, class_set = "painted", "val", CLASSES

    def __init__(self, images: int, broken: Sequence[int] = (), side: int = 40) -> None:
        self.samples = [Sample(f"{'even' if i % 2 == 0 else 'odd'}/{i:04}") for i in range(images)]
        self.broken = set(broken)
        self.side = side

    def _index(self, sample: Sample) -> int:
        return int(sample.id.rpartition("/")[2])

    def image(self, sample: Sample) -> np.ndarray:
        if self._index(sample) in self.broken:
            raise ImageError(f"{sample.id}: damaged image; copy it again")
        return paint(self._index(sample), self.side)[0]

    def mask(self, sample: Sample) -> np.ndarray:
        return paint(self._index(sample), self.side)[1]

    def boxes(self, sample: Sample) -> Boxes:
        labels = self.mask(sample)
        found = [c for c in range(3) if (labels == c + 1).any()]
        corners = []
        for c in found:
            rows, columns = np.nonzero(labels == c + 1)
            corners.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(found, np.int64))

    @property
    def has_masks(self) -> bool:
        return True


class NearestColour:
    """Gives each pixel the class of the nearest colour, and 255 where two are about as near."""

    def __init__(self, contest: float = 20.0, pause: float = 0.0, deadly: int = -1) -> None:
        self.contest, self.pause, self.deadly = contest, pause, deadly
        self.settings: Mapping[str, Any] = {"contest": contest, "class_set": class_set_content(CLASSES)}

    needs_boxes = False

    def seed(self, loaded: LoadedSample) -> Seed:
        image = loaded.image
        time.sleep(self.pause)
        if loaded.sample.id.endswith(f"/{self.deadly:04}"):
            os.abort()
        distance = np.linalg.norm(image[:, :, None].astype(np.float32) - COLOURS, axis=3)
        nearest, second = np.sort(distance, axis=2)[:, :, :2].transpose(2, 0, 1)
        labels = distance.argmin(axis=2).astype(np.uint8)
        labels[second - nearest < self.contest] = 255
        present = tuple(c for c in range(3) if (labels == c + 1).sum() > 10)
        shares = {c: float((labels == c + 1).mean()) for c in range(3)}
        confidence = (1 - nearest / (nearest + second + 1e-6)).astype(np.float32)
        return Seed(labels, confidence, present, shares, {"nearest": nearest.mean()}, ("painted",))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=location)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--contest", type=float, default=20.0)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--cut", type=int, help="largest size of a file in bytes")
    parser.add_argument("--deadly", type=int, default=-1, help="image that aborts the process")
    parser.add_argument("--no-locks", action="store_true", help="as on a file system without them")
    options = parser.parse_args()
    if options.no_locks:
        lock.fcntl = None
        leases.HEARTBEAT, leases.STALE = 0.1, 1.0
    if isinstance(options.out, Source):
        leases.HEARTBEAT, leases.STALE = 0.5, 4.0  # times there are in whole seconds
    if options.cut:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.cut, options.cut))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by default where the parent ignores it
    exit_on_signal()
    index, count = map(int, options.shard.split("/"))
    seeder = NearestColour(options.contest, options.pause, options.deadly)
    try:
        return generate(
            Painted(options.images),
            seeder,
            options.out,
            settings=seeder.settings,
            shard=(index - 1, count),
            overwrite=options.overwrite,
        ).exit_status
    except WsssError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
