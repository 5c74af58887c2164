"""Ablation of clip-sams: mIoU on toyland after each step, with the bundled miniatures and image labels.

    python ladder.py [--images 200] [--split test] [--prompts FOLDER ...]

Rows: with hand-written prompts, the thresholded maps, their refinement by attention affinity, and the vote of mask
proposals; the vote with prompts learned from image-level labels (coarse seeds) and from coarse seeds (fine seeds); the
first three rows again with Grad-CAM's channel weights, as published; for comparison, dino-sam and an oracle that
assigns each mask proposal its true class. FOLDERs are outputs of ``wsss-seed learn-prompts``, one per random seed, of
which mean and range are shown; by default, the bundled prompts are used. The settings are those of the preset.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import iou, mean, resolve_ignored
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.seeding.clip_sams import cached_proposals, proposal_settings
from wsss_seed.seeding.clip_sams.sams import overlay_order, runs_of
from wsss_seed.types import LoadedSample, Seeder

# Exponents and refinement without the vote of proposals were chosen on 200 images of the val split.
PIXELS = {"stage": "handwritten", "sams.vote": False}
WIDE = {
    "affinity.sinkhorn_iters": 1,
    "affinity.power": 1,
    "affinity.box_threshold": 0.0,
    "affinity.box_clip_quirk": False,
}
BOXED = {**WIDE, "affinity.sinkhorn_iters": 3, "affinity.box_threshold": 0.4}
CHANNEL = {"stage": "handwritten", "cam.weights": "channel", "cam.softmax": "present", "sams.max_area_ratio": 1.0}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "CAM, thresholded": ("clip-sams", {**PIXELS, "sams.background_exponent": 40.0}),
    "+ affinity": ("clip-sams", {**PIXELS, **WIDE, "affinity.apply_to": "score", "sams.background_exponent": 1.0}),
    "SAMS, hand-written prompts": ("clip-sams", {"stage": "handwritten"}),
    "SAMS, learned cls prompts (coarse seeds)": ("clip-sams", {"stage": "coarse"}),
    "SAMS, learned seg prompts (fine seeds)": ("clip-sams", {"stage": "fine"}),
    "channel weights, hand-written: CAM, thresholded": (
        "clip-sams",
        {**PIXELS, **CHANNEL, "sams.background_exponent": 4.0},
    ),
    "channel weights: + affinity": (
        "clip-sams",
        {**PIXELS, **CHANNEL, **BOXED, "affinity.apply_to": "score", "sams.background_exponent": 1.0},
    ),
    "channel weights: + SAMS": (
        "clip-sams",
        {**CHANNEL, **BOXED, "affinity.apply_to": "score", "sams.background_exponent": 0.2},
    ),
    "dino-sam, labels given": ("dino-sam", {"mode": "label_given"}),
    "dino-sam, label-free": ("dino-sam", {"mode": "label_free"}),
}


class Score:
    """Confusion matrix over images."""

    def __init__(self, classes: int):
        self.classes, self.histogram = classes, np.zeros((256, 256), np.int64)

    def add(self, truth: np.ndarray, labels: np.ndarray) -> None:
        self.histogram += joint_histogram(truth, labels)

    @property
    def miou(self) -> float:
        return mean(iou(resolve_ignored(confusion_matrix(self.histogram, self.classes), "background")))


def oracle(masks: Any, levels: Any, truth: np.ndarray) -> np.ndarray:
    """Each proposal with the majority class of its pixels, painted as in SAMS, with purity in place of confidence."""
    flat, painted = truth.reshape(-1), np.zeros(truth.size, np.uint8)
    runs = [runs_of(m) for m in masks]
    votes = [np.bincount(np.concatenate([flat[a:b] for a, b in zip(*r, strict=True)]), minlength=1) for r in runs]
    purity = np.array([v.max() / v.sum() for v in votes], np.float32)
    for i in overlay_order(np.asarray(levels), purity):
        for a, b in zip(*runs[i], strict=True):
            painted[a:b] = votes[i].argmax()
    return painted.reshape(truth.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--split", default="test")
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prompts", nargs="*", type=Path, default=[])
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names; default: all rows")
    parser.add_argument("--margin", type=float, default=0.0, help="ignore pixels with a smaller margin")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()

    classes, models = load_class_set("toyland"), ModelSet(args.models, args.device)
    world = Toyland(classes, args.split, args.images)
    figures: dict[str, list[float]] = {}
    seeders: list[tuple[str, Seeder, Score]] = []
    for name, (backend, settings) in ROWS.items():
        if args.rows and not any(part in name for part in args.rows):
            continue
        learned = settings.get("stage") in ("coarse", "fine")
        for prompts in args.prompts if learned and args.prompts else [None]:
            given = {key: value for key, value in settings.items() if key != "stage"}
            if backend == "clip-sams" and args.margin:
                given["sams.margin"] = args.margin
            options = {"stage": settings.get("stage"), "prompts": prompts and str(prompts)}
            request = BackendRequest(classes, models, given)
            seeder = build_seeder(backend, request, {key: value for key, value in options.items() if value})
            seeders.append((name, seeder, Score(len(classes.names) + 1)))
    bound = Score(len(classes.names) + 1)
    proposals_of = cached_proposals(models, proposal_settings(classes, models, {}))
    begin = time.monotonic()
    for sample in world.samples:
        image, truth = world.image(sample), world.mask(sample)
        for _, seeder, score in seeders:
            score.add(truth, seeder.seed(LoadedSample(sample, image)).labels)
        found = proposals_of(image)
        bound.add(truth, oracle(found.masks, found.level, truth))
    for name, _, score in seeders:
        figures.setdefault(name, []).append(score.miou)
    figures["oracle: each proposal its true class"] = [bound.miou]
    print(f"{args.images} images of toyland {args.split}, {time.monotonic() - begin:.0f} s\n")
    print("| | mIoU |\n| --- | --- |")
    for name, values in figures.items():
        spread = f" ({100 * min(values):.1f} to {100 * max(values):.1f})" if len(values) > 1 else ""
        print(f"| {name} | {100 * sum(values) / len(values):.1f}{spread} |")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
