"""Evaluate a detector on toyland at the original image size, with groundingdino as in the package.

python evaluate_detector.py --detector ../../wsss_seed/models/tiny --split test --images 1000
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from detection_figures import Found, best_threshold, figures

from wsss_seed.data.toyland import CLASSES, draw
from wsss_seed.models.grounding_dino import GroundingDino, load_grounding_dino


def look(detector: GroundingDino, split: str, count: int, joint: bool = True) -> list[Found]:
    """The detections on the first images of a split, for all classes."""
    out = []
    for i in range(count):
        scene = draw(i, split)
        boxes, scores, class_scores = detector.detect(scene.image, [[c] for c in CLASSES], joint=joint)
        out.append(Found(boxes, scores, class_scores, scene.boxes, [o.index for o in scene.objects]))
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default=str(Path(__file__).parents[2] / "wsss_seed/models/tiny"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--per-class", action="store_true", help="one caption per class instead of one for all")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.process_time()
    found = look(load_grounding_dino(args.detector), args.split, args.images, not args.per_class)
    seconds = time.process_time() - began
    threshold, f1 = best_threshold(found)
    rows = {**figures(found, len(CLASSES)), "best_threshold": threshold, "f1": f1}
    rows["core_seconds_per_image"] = seconds / args.images
    print(json.dumps({k: round(v, 4) for k, v in rows.items()}, indent=1))
