"""Evaluate the miniature CLIP on toyland, and help choose settings of dino-sam for it.

    python evaluate_clip.py [--clip FOLDER] [--split test --images 1000] [--calibrate]

Prints metrics on the test split, or with ``--calibrate`` statistics of the val split for choosing thresholds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np
from clip_data import average_precision

from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland import draw
from wsss_seed.models.clip import Clip, load_clip
from wsss_seed.models.zoo import TINY
from wsss_seed.seeding.detection.classification import (
    class_scores,
    negatives,
    probabilities,
    text_features,
    to_numpy,
    view_boxes,
)
from wsss_seed.seeding.detection.crop_verification import crop_boxes
from wsss_seed.seeding.detection.settings import TEMPLATES


@dataclass
class Features:
    """Image features, rows of unit length, and their ground truth.

    Attributes:
        views: (n, 14, D), the global view first.
        present: bool (n, K).
        crops: (m, D), square crops of 1.3 times each object.
        boxes: (m, D), crops as verification cuts them from the true boxes.
        classes: (m,) foreground indices of the objects.
        owners: (m,) the scene of each object.
        empty: (e, D), crops of boxes that hold no object.
    """

    views: np.ndarray
    present: np.ndarray
    crops: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    owners: np.ndarray
    empty: np.ndarray


def features(clip: Clip, split: str, images: int, seed: int = 0, classes: int = 12) -> Features:
    """Features of the first ``images`` scenes of a split, at their original size."""
    rng = np.random.default_rng(0)
    views, crops, boxes, owners, found, empty = [], [], [], [], [], []
    present = np.zeros((images, classes), bool)
    for i in range(images):
        scene = draw(i, split, seed)
        shape = scene.labels.shape
        present[i, list(scene.present)] = True
        found += [o.index for o in scene.objects]
        owners += [i] * len(scene.objects)
        corner = rng.uniform(0, 0.7, 2)
        free = np.clip(np.concatenate([corner, corner + rng.uniform(0.15, 0.4, 2)]), 0, 1) * np.tile(shape[::-1], 2)
        x0, y0, x1, y1 = free.round().astype(int)
        seen = [
            view_boxes(*shape),
            crop_boxes(scene.boxes, shape, 0.15),
            crop_boxes(scene.boxes, shape, 0.10),
            crop_boxes(free[None], shape, 0.10)[: not scene.labels[y0:y1, x0:x1].any()],
        ]
        encoded = to_numpy(clip.encode_views(scene.image, np.concatenate(seen)))
        parts = np.split(encoded, np.cumsum([len(s) for s in seen])[:-1])
        for into, part in zip((views, crops, boxes, empty), parts, strict=True):
            into.append(part)
    return Features(
        np.stack(views),
        present,
        np.concatenate(crops),
        np.concatenate(boxes),
        np.array(found),
        np.array(owners),
        np.concatenate(empty),
    )


def scores(f: Features, text: np.ndarray, scale: float, weight: float = 0.5) -> tuple[np.ndarray, ...]:
    """Global, local and ranking scores, each (n, K)."""
    k = f.present.shape[1]
    rows = [class_scores(probabilities(v, text, scale)[:, :k], weight) for v in f.views]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def figures(f: Features, text: np.ndarray, scale: float) -> dict[str, float]:
    """Crop accuracy, and the mAP of each way to score a scene."""
    k = f.present.shape[1]
    glob, loc, both = scores(f, text, scale)
    return {
        "images": len(f.present),
        "objects": len(f.classes),
        "crop_accuracy": float(((f.crops @ text[:k].T).argmax(1) == f.classes).mean()),
        "map_cosine": average_precision(f.views[:, 0] @ text[:k].T, f.present),
        "map_global": average_precision(glob, f.present),
        "map_local": average_precision(loc, f.present),
        "map_both": average_precision(both, f.present),
    }


def calibrate(f: Features, text: np.ndarray, learned: float) -> None:
    """Print the effect of candidate selection and verification for several softmax scales."""
    k = f.present.shape[1]
    for scale in (learned, 20.0, 30.0, 50.0, 100.0):
        glob, loc, _ = scores(f, text, scale)
        maps = {w: average_precision(scores(f, text, scale, w)[2], f.present) for w in (0, 0.25, 0.5, 0.75, 1)}
        print(f"scale {scale:.1f}: mAP by local weight " + " ".join(f"{w}: {m:.3f}" for w, m in maps.items()))
        rows = []
        for tau_glob in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.01):
            for tau_loc in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01):
                chosen = (glob >= tau_glob) | (loc >= tau_loc)
                hit = (chosen & f.present).sum()
                rows.append(
                    (hit / f.present.sum(), hit / max(chosen.sum(), 1), chosen.sum(1).mean(), tau_glob, tau_loc)
                )
        for least in (0.99, 0.98, 0.95, 0.9):
            if able := [r for r in rows if r[0] >= least]:
                r = max(able, key=lambda r: r[1])
                print(f"  recall {r[0]:.3f} precision {r[1]:.3f} candidates {r[2]:.2f}: tau_glob {r[3]} tau_loc {r[4]}")
        r = max(rows, key=lambda r: 2 * r[0] * r[1] / (r[0] + r[1] + 1e-9))
        print(f"  best F1: recall {r[0]:.3f} precision {r[1]:.3f}: tau_glob {r[3]} tau_loc {r[4]}")
        right, nothing = probabilities(f.boxes, text, scale)[:, :k], probabilities(f.empty, text, scale)[:, :k]
        own = right[np.arange(len(right)), f.classes]
        absent = right[~f.present[f.owners]]
        print(
            "  box crops: own class "
            + " ".join(f"q{q:02d} {np.percentile(own, q):.3f}" for q in (1, 5, 10, 25, 50))
            + f"; absent class q99 {np.percentile(absent, 99):.3f} q99.9 {np.percentile(absent, 99.9):.3f}"
            + "; best class of empty boxes "
            + " ".join(f"q{q} {np.percentile(nothing.max(1), q):.3f}" for q in (50, 75, 90, 95, 99))
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default=str(TINY), help="folder with clip.json and clip.safetensors")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--calibrate", action="store_true")
    args = parser.parse_args()
    clip = load_clip(args.clip, args.device)
    class_set = load_class_set("toyland")
    text = text_features(clip, [*class_set.phrases, *((p,) for p in negatives(class_set))], TEMPLATES)
    found = features(clip, args.split, args.images, classes=len(class_set.names))
    print(json.dumps({k: round(v, 4) for k, v in figures(found, text, clip.logit_scale).items()}))
    if args.calibrate:
        calibrate(found, text, clip.logit_scale)
