"""Calibrate the settings of a clip-sams stage for a model set, on toyland's val split.

    python calibrate_clip_sams.py handwritten|coarse|fine [--prompts FILE] [--images 150] [--rounds 2] [--no-vote]

Coordinate search: each setting in turn takes the value of its list with the best mIoU and keeps its value on ties. The
search starts from the preset; image features and mask proposals are cached. Finally, the settings that differ from the
defaults of the published recipe are printed as TOML for the preset.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from wsss_seed.config import flatten
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import iou, mean, resolve_ignored
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest
from wsss_seed.seeding.clip_sams import ClipSams, ClipSamsSettings, build
from wsss_seed.types import LoadedSample

GRID: dict[str, list[Any]] = {
    "sams.background_exponent": [0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 15.0, 25.0, 40.0, 70.0],
    "sams.max_area_ratio": [0.4, 0.5, 0.6, 0.7, 0.8, 1.0],
    "cam.weights": ["channel", "element"],
    "cam.softmax": ["masked", "present", "all"],
    "cam.logit_scale": [0.0, 5.0, 10.0, 20.0, 40.0],
    "affinity.apply_to": ["none", "score", "cam"],
    "affinity.box_threshold": [0.0, 0.1, 0.2, 0.4, 0.6],
    "affinity.sinkhorn_iters": [0, 1, 3],
    "affinity.power": [1, 2, 3],
    "affinity.attention_blocks": [1, 2, 3, 8],
}


class Remembered:
    """A CLIP that caches the output of its image tower per image."""

    def __init__(self, clip: Any):
        self._clip, self._towers = clip, {}  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clip, name)

    def prepare(self, image: np.ndarray, max_side: int | None = None) -> np.ndarray:
        return image

    def encode_tokens(self, image: np.ndarray, record: int = 0) -> Any:
        key = (id(image), record)
        if key not in self._towers:
            self._towers[key] = self._clip.encode_tokens(self._clip.prepare(image), record)
        return self._towers[key]


def miou(seeder: ClipSams, samples: list[LoadedSample], truth: list[np.ndarray]) -> float:
    """Mean IoU over the classes, background included."""
    histogram = sum(joint_histogram(t, seeder.seed(s).labels) for s, t in zip(samples, truth, strict=True))
    counts = confusion_matrix(histogram, len(seeder.class_set.names) + 1)
    return mean(iou(resolve_ignored(counts, "background")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["handwritten", "coarse", "fine"])
    parser.add_argument("--prompts")
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2, help="passes over all settings; 0 only evaluates")
    parser.add_argument("--keys", nargs="*", default=list(GRID), help="settings to calibrate; default: all")
    parser.add_argument("--no-vote", action="store_true", help="label each pixel by the maps, without mask proposals")
    args = parser.parse_args()

    models, classes = ModelSet(args.models, "cpu").for_backend("clip-sams"), load_class_set("toyland")
    world = Toyland(classes, "val", args.images)
    samples = [LoadedSample(s, world.image(s)) for s in world.samples]
    truth = [world.mask(s) for s in world.samples]
    base: dict[str, Any] = {"sams.vote": not args.no_vote}
    models.__dict__["clip"] = Remembered(models.clip)
    masks: dict[int, Any] = {}

    def measure(values: dict[str, Any]) -> float:
        request = BackendRequest(classes, models, {**base, **values})
        seeder = build(request, stage=args.stage, prompts=args.prompts)
        generate = seeder._proposals

        def once(image: np.ndarray) -> Any:
            if id(image) not in masks:
                masks[id(image)] = generate(image)
            return masks[id(image)]

        seeder._proposals = once
        return miou(seeder, samples, truth)

    start = build(BackendRequest(classes, models, base), stage=args.stage, prompts=args.prompts).settings
    values = {key: start[key] for key in args.keys}
    best = measure(values)
    print(f"start {best:.4f} {values}", flush=True)
    for _ in range(args.rounds):
        before = dict(values)
        for key in args.keys:
            begin, tried = time.monotonic(), []
            for value in GRID[key]:
                if value == before[key]:
                    continue
                idle = values.get("affinity.apply_to") == "none" and key != "affinity.apply_to"
                if idle and key.startswith("affinity."):
                    continue
                found = measure({**values, key: value})
                tried.append((value, round(found, 4)))
                if found > best + 1e-4:
                    best, values[key] = found, value
            seconds = time.monotonic() - begin
            print(f"{key} = {values[key]}: {best:.4f} ({seconds:.0f} s) {tried}", flush=True)
        if values == before:
            break
    defaults = flatten(ClipSamsSettings())
    print("end", round(best, 4))
    for key, value in values.items():
        if value != defaults[key]:
            print(f'"{key}" = {repr(value).replace(chr(39), chr(34))}')


if __name__ == "__main__":
    main()
