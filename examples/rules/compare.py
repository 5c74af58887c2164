"""Compare the rules of dino-sam on real scenes without real weights.

    python compare.py VOC/SegmentationClass --classes voc [--seen tagclip/voc2012_val.txt]
    python compare.py coco/SegmentationClassCOCO80 --classes coco

The real seeder is driven by scripted models (``scripted.py``), whose answers are made from the ground truth of the
images and from stated error rates. This compares rules, not models: the figures are those of the assumptions.

GT is a folder of label maps: index PNGs with 0 background, 1..K the classes of the class set, 255 ignored. Only label
maps are read, no photographs. ``--seen`` is a file of published image-level outputs of a CLIP, one line per image: its
id, then 0-based class indices; other images get the rates of ``scripted.Rates``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scripted import Rates, Scene, World

from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, load_class_set
from wsss_seed.data.images import read_labels
from wsss_seed.evaluation.confusion import confusion_matrix, joint_histogram
from wsss_seed.evaluation.metrics import iou, mean, resolve_ignored
from wsss_seed.seeding.detection.detections import Detections
from wsss_seed.seeding.dino_sam import PRESETS, DinoSam, Settings
from wsss_seed.types import LoadedSample

FACTORS = (0.5, 1.0, 1.5)
MODES = ("label_given", "label_free")
FORMER = {
    "detector.candidate_threshold": 1.0,
    "verify.crop": "square",
    "verify.trust_threshold": 1.0,
    "verify.relabel": True,
    "verify.weight": 0.3,
    "verify.weight_label_given": 0.3,
}
"""The first rules: CLIP alone proposes classes, and its crops weigh as much with given labels as without."""


class Former(DinoSam):
    """The seeder before rescued boxes painted."""

    def _with_roles(self, d: Detections, given: tuple[int, ...] | None) -> Detections:
        return super()._with_roles(replace(d, rescued=np.zeros(len(d), bool)), given)


RULES: dict[str, tuple[type[DinoSam], Mapping[str, Any]]] = {
    "former": (Former, FORMER),
    "plain": (DinoSam, PRESETS["plain"]),
    "default": (DinoSam, {}),
}


def read_scenes(folder: Path, seen: Path | None, limit: int | None) -> list[Scene]:
    """The scenes of a folder of label maps, in the order of their names."""
    known = {}
    if seen is not None:
        for line in seen.read_text("utf-8").splitlines():
            name, *classes = line.split()
            known[name] = frozenset(map(int, classes))
    paths = sorted(folder.glob("*.png"))[:limit]
    return [Scene(path.stem, read_labels(path), known.get(path.stem)) for path in paths]


def measure(seeder: DinoSam, scenes: list[Scene], *, given: bool) -> float:
    """mIoU over the classes of the scenes; ignored pixels count as background."""
    total = np.zeros((256, 256), np.int64)
    for scene in scenes:
        sample = Sample(scene.name, labels=scene.present if given else None)
        total += joint_histogram(scene.labels, seeder.seed(LoadedSample(sample, scene.image)).labels)
    counts = resolve_ignored(confusion_matrix(total, len(seeder.class_set.names) + 1), "background")
    return mean(iou(counts)[counts.sum(1) > 0])


def replay(
    class_set: ClassSet,
    scenes: list[Scene],
    rules: Mapping[str, tuple[type[DinoSam], Mapping[str, Any]]],
    factors: tuple[float, ...],
    seeds: int,
) -> Iterator[dict[str, Any]]:
    """mIoU of each rule for each mode and factor of the error rates, over several seeds."""
    for factor in factors:
        for mode in MODES:
            figures: dict[str, list[float]] = {name: [] for name in rules}
            for seed in range(seeds):
                world = World(class_set, scenes, Rates().scaled(factor), seed)
                for name, (kind, values) in rules.items():
                    classes = replace(class_set, thresholds={}) if name == "plain" else class_set
                    seeder = kind(classes, world, world, world, override(Settings(mode=mode), values))
                    figures[name].append(measure(seeder, scenes, given=mode == "label_given"))
            for name, values in figures.items():
                yield {
                    "errors": factor,
                    "mode": mode,
                    "rules": name,
                    "miou": round(float(np.mean(values)), 4),
                    "spread": round(float(np.std(values)), 4),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gt", type=Path, help="folder of label maps")
    parser.add_argument("--classes", default="voc", help="class set: voc, coco, or a file")
    parser.add_argument("--seen", type=Path, help="image-level outputs of a published CLIP")
    parser.add_argument("--errors", type=float, nargs="+", default=list(FACTORS), help="factors on the error rates")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a fourth rule: these settings")
    args = parser.parse_args()

    rules = dict(RULES)
    if args.set:
        changed = {key: json.loads(value) for key, _, value in (text.partition("=") for text in args.set)}
        rules[" ".join(args.set)] = DinoSam, changed
    class_set = load_class_set(args.classes)
    scenes = read_scenes(args.gt, args.seen, args.limit)
    if not scenes:
        parser.error(f"{args.gt}: no label maps (*.png)")
    known = sum(scene.seen is not None for scene in scenes)
    print(f"{len(scenes)} images, of which {known} with published outputs of CLIP; {args.seeds} seeds")
    for row in replay(class_set, scenes, rules, tuple(args.errors), args.seeds):
        print(
            f"errors x {row['errors']:<4} {row['mode']:12} {row['rules']:24} "
            f"mIoU {100 * row['miou']:5.1f} +- {100 * row['spread']:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
