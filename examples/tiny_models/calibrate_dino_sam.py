"""Calibrate the thresholds of dino-sam for a model set, on toyland's val split.

    python calibrate_dino_sam.py [--models tiny] [--images 300] [--rounds 2] [--start FILE.toml]

Coordinate search: each setting in turn takes the value of its list with the best mIoU (ignored pixels count as
background), averaged over the label-given and the label-free mode. On ties the earlier value wins; the current value
comes first. Model outputs are kept, so settings that do not affect the models are fast to test. Finally, the settings
are printed as TOML for the model set. ``wsss-seed calibrate`` does the same on a few images of your own, and guards
against chance.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsss_seed.config import flatten, override
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import POLICIES, iou, mean, resolve_ignored
from wsss_seed.models.outputs import ModelOutputs
from wsss_seed.models.recorder import Memory, recorded
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.detection.settings import TEMPLATES
from wsss_seed.seeding.dino_sam import DinoSam, Settings
from wsss_seed.types import LoadedSample

MODES = ("label_given", "label_free")
START: dict[str, Any] = {"verify.min_side": 8, "mask.min_region_area": 8}
GRID: dict[str, list[Any]] = {
    "clip.logit_scale": [10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 100.0],
    "clip.templates": [list(TEMPLATES), ["a photo of a {}."], ["a photo of a {}.", "a picture of a {}.", "{}"]],
    "clip.grids": [[], [2], [2, 3], [2, 3, 4]],
    "clip.global_threshold": [0.02, 0.05, 0.1, 0.15, 0.2, 0.3],
    "clip.local_threshold": [0.15, 0.25, 0.35, 0.5, 0.65, 0.8],
    "detector.box_threshold": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5],
    "ignore.confident_threshold": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4],
    "ignore.confident_threshold_label_free": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5],
    "verify.weight": [0.0, 0.15, 0.3, 0.45, 0.6],
    "verify.accept_threshold": [0.02, 0.05, 0.1, 0.2, 0.3, 0.5],
    "verify.accept_top_k": [1, 2, 3],
    "verify.relabel_threshold": [0.4, 0.6, 0.8, 1.0],
    "verify.relabel_below": [0.05, 0.1, 0.2, 0.3],
    "verify.min_side": [4, 8, 12, 16, 24, 32],
    "verify.context": [0.0, 0.05, 0.1, 0.2, 0.3],
    "detector.caption": ["joint", "per_class"],
    "detector.rescue_threshold": [0.02, 0.05, 0.1, 0.15],
    "detector.fallback_threshold": [0.05, 0.1, 0.2],
    "nms.iou_threshold": [0.4, 0.5, 0.6, 0.7, 0.8],
    "nms.cross_class_iou_threshold": [0.5, 0.6, 0.7, 0.8, 0.9],
    "fusion.order": ["area", "score", "area_score"],
    "fusion.iou_threshold": [0.5, 0.6, 0.7, 0.8, 0.9],
    "fusion.per_pixel": [False, True],
    "ignore.contest_margin": [0.0, 0.02, 0.05],
    "mask.output": ["single", "best"],
    "mask.box_expand": [0.0, 0.02, 0.05, 0.1, 0.2],
    "mask.min_region_area": [0, 4, 8, 16, 30],
    "mask.pred_iou_thresh": [0.0, 0.3, 0.5],
    "detector.ambiguous_threshold": [0.05, 0.1, 0.15, 0.2],
    "ignore.ambiguous_threshold": [0.05, 0.1, 0.2],
}


def measure(
    settings: Settings,
    models: ModelSet,
    memory: Memory,
    outputs: list[ModelOutputs],
    samples: list[LoadedSample],
    truth: list[np.ndarray],
) -> dict[str, dict[str, float]]:
    """For each mode, mIoU under each policy for ignored pixels, and the share of ignored pixels."""
    classes = load_class_set("toyland")
    figures = {}
    for mode in MODES:
        seeder = DinoSam(classes, models.clip, models.sam, models.detector, replace(settings, mode=mode))
        histogram = np.zeros((256, 256), np.int64)
        for sample, own_truth, own_outputs in zip(samples, truth, outputs, strict=True):
            memory.outputs = own_outputs
            histogram += joint_histogram(own_truth, seeder.seed(sample).labels)
        counts = confusion_matrix(histogram, len(classes.names) + 1)
        figures[mode] = {p: mean(iou(resolve_ignored(counts, p))) for p in POLICIES}
        figures[mode]["ignored"] = float(counts[:, -1].sum() / counts.sum())
    return figures


def objective(figures: Mapping[str, Mapping[str, float]]) -> float:
    """The objective of the calibration."""
    return sum(figures[mode]["background"] for mode in MODES) / len(MODES)


def load(split: str, images: int) -> tuple[list[LoadedSample], list[np.ndarray]]:
    """Samples with their pixels and labels, and their ground truth."""
    world = Toyland(load_class_set("toyland"), split, images)
    return [LoadedSample(s, world.image(s)) for s in world.samples], [world.mask(s) for s in world.samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--split", default="val")
    parser.add_argument("--rounds", type=int, default=2, help="passes over all settings; 0 only evaluates")
    parser.add_argument("--keys", nargs="*", default=list(GRID), help="settings to calibrate; default: all")
    parser.add_argument("--start", type=Path, help="TOML file of dotted keys to start from")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    models = ModelSet(args.models, args.device)
    given = (
        tomllib.loads(args.start.read_text("utf-8"))
        if args.start
        else {**START, "clip.logit_scale": models.clip.logit_scale}
    )
    settings, memory = override(Settings(), given), Memory()
    samples, truth = load(args.split, args.images)
    replay = recorded(models, memory), memory, [ModelOutputs(sample.sample.id) for sample in samples], samples, truth
    figures = measure(settings, *replay)
    print("start", figures, flush=True)
    for _ in range(args.rounds):
        before = flatten(settings)
        for key in args.keys:
            begin, tried = time.monotonic(), []
            for value in GRID[key]:
                if value == flatten(settings)[key]:
                    continue
                changed = override(settings, {key: value})
                result = measure(changed, *replay)
                tried.append((value, round(objective(result), 4)))
                if objective(result) > objective(figures) + 1e-4:
                    settings, figures = changed, result
            chosen = flatten(settings)[key]
            print(f"{key} = {chosen}: {objective(figures):.4f} ({time.monotonic() - begin:.0f} s) {tried}", flush=True)
        if flatten(settings) == before:
            break
    print("end", figures)
    defaults = flatten(Settings())
    for key, value in flatten(settings).items():
        if value != defaults[key]:
            text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
            print(f'"{key}" = {text or repr(value).replace(chr(39), chr(34))}')


if __name__ == "__main__":
    main()
