"""``generate`` as a user calls it, with random weights: its images per second, and its masks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.gpu.pictures import folder_of_pictures
from tests.benchmarks.gpu.scale import Scale
from wsss_seed.data.classes import IGNORE
from wsss_seed.data.images import read_labels

_START = 0.25  # part of the images that is left out: workers load models and warm up


class Seeded(NamedTuple):
    """The result of a run.

    Attributes:
        images_per_second: after the first quarter of the images.
        masks: id -> label map.
    """

    images_per_second: float
    masks: Mapping[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        """The rate, and the share of the pixels that have a class: without any, nothing was segmented."""
        painted = float(np.mean([np.mean((labels > 0) & (labels < IGNORE)) for labels in self.masks.values()]))
        error = {} if painted else {"error": "no pixel has a class"}
        return {"images_per_second": self.images_per_second, "painted": painted, **error}


def images_for(scale: Scale, folder: Path) -> Path:
    """The images of the runs."""
    return folder_of_pictures(folder, scale.pick(128, 8), scale.pick((500, 375), (160, 120)))


def seeded(scale: Scale, images: Path, out: Path, *options: str) -> Seeded:
    """Run ``generate`` with more options.

    Raises:
        RuntimeError: it failed.
    """
    given = {"--dataset": "folder", "--root": images, "--classes": scale.pick("voc", "toyland"), "--out": out}
    given |= {"--models": scale.pick("base", "tiny"), "--device": scale.device}
    words = [str(word) for pair in given.items() for word in pair]
    command = [sys.executable, "-m", "tests.benchmarks.gpu.random_weights", "generate", *words, "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"generate {' '.join(options)} ended with status {done.returncode}")
    ends = sorted(json.loads(line)["finished"] for line in (out / "manifest.jsonl").read_bytes().splitlines())
    first = int(_START * len(ends))
    masks = {path.stem: read_labels(path) for path in (out / "SegmentationClass").glob("*.png")}
    return Seeded((len(ends) - 1 - first) / max(ends[-1] - ends[first], 1e-9), masks)


def equality(masks: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How many label maps equal others, the share of equal pixels, and an error where that is below 98 %."""
    if masks.keys() != reference.keys():
        return {"error": "not the same images"}
    equal = float(np.mean([np.mean(masks[id] == reference[id]) for id in reference]))
    same = sum(np.array_equal(masks[id], reference[id]) for id in reference)
    error = {} if equal >= 0.98 else {"error": "fewer than 98 % of the pixels are equal"}
    return {"equal_maps": same, "maps": len(reference), "equal_pixels": equal, **error}
