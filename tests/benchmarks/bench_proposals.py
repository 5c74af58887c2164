"""What mask proposals cost beside segment_anything's SamAutomaticMaskGenerator, on the same weights and images.

    python tests/benchmarks/bench_proposals.py [--sam tiny] [--images 8] [--folder PHOTOS] [--device cpu] [--json]
    python tests/benchmarks/bench_proposals.py --memory [--points 32] [--keep-all] [--stability 0.5 --offset 0.2]

The library's settings are its defaults (32 x 32 points, no crops) and ours the same rules: no bonus for levels, no
filter between levels, no repair. Both take turns image by image and the faster of two repeats counts. A mask is matched
if the other side has one with IoU 0.95 or more. ``--iou``, ``--offset`` and ``--stability`` change the filters on both
sides: the miniature's logits are so low that the defaults leave it hardly a mask to compare.

``--memory`` runs the published settings (crops, repair, all filters) and then SAMS with four maps on a photograph of
4000 x 3000 pixels, and tells by how much the process grew beyond what it had with the model loaded. ``--keep-all``
removes no duplicates, so that every candidate becomes a mask.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from segment_anything import SamAutomaticMaskGenerator

from wsss_seed.data.images import read_rgb
from wsss_seed.data.toyland import draw
from wsss_seed.models.peers import library_sam
from wsss_seed.models.sam import Sam
from wsss_seed.models.zoo import ModelSet
from wsss_seed.proposals.generate import ProposalSettings, generate_proposals
from wsss_seed.seeding.clip_sams.sams import sams

NONE = (0.0, 0.0, 0.0)


def library_rules(iou: float, stability: float, offset: float, points: int = 32) -> ProposalSettings:
    """SamAutomaticMaskGenerator's defaults, but for these filters."""
    return ProposalSettings(
        points_per_side=points,
        crop_n_layers=0,
        pred_iou_thresh=iou,
        score_thresh_offset=NONE,
        stability_score_thresh=stability,
        stability_score_offset=offset,
        score_nms_offset=NONE,
        min_mask_region_area=0,
        level_overlap_thresh=0.0,
    )


def timed(make: Callable[[], Any], sam: Sam) -> tuple[float, Any]:
    """Wall time on a GPU, the process's own time on a CPU, which other processes do not disturb."""
    clock = time.perf_counter if sam.device.type == "cuda" else time.process_time
    begin = clock()
    made = make()
    if sam.device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begin, made


def matched(masks: list[Any], others: list[Any]) -> int:
    """How many masks have one among the others with IoU of at least 0.95."""
    if not masks or not others:
        return 0
    return int((np.asarray(rle.iou(masks, others, [0] * len(others))).max(1) >= 0.95).sum())


def compare(
    sam: Sam, images: Iterator[np.ndarray], iou: float, stability: float, offset: float, points: int = 32
) -> dict[str, float]:
    """Seconds, ratio, and matches both ways."""
    settings = library_rules(iou, stability, offset, points)
    library = SamAutomaticMaskGenerator(
        library_sam(sam),
        points_per_side=points,
        pred_iou_thresh=iou,
        stability_score_thresh=stability,
        stability_score_offset=offset,
        output_mode="coco_rle",
    )
    total = {"images": 0, "library_s": 0.0, "ours_s": 0.0, "library_masks": 0, "our_masks": 0}
    both = [0, 0]
    for image in images:
        runs = [
            (timed(lambda: library.generate(image), sam), timed(lambda: generate_proposals(sam, image, settings), sam))  # noqa: B023
            for _ in range(2)
        ]
        theirs = [record["segmentation"] for record in runs[0][0][1]]
        ours = list(runs[0][1][1].masks)
        total["images"] += 1
        total["library_s"] += min(run[0][0] for run in runs)
        total["ours_s"] += min(run[1][0] for run in runs)
        total["library_masks"] += len(theirs)
        total["our_masks"] += len(ours)
        both = [both[0] + matched(theirs, ours), both[1] + matched(ours, theirs)]
    return {
        **total,
        "ratio": total["library_s"] / total["ours_s"],
        "library_matched": both[0] / max(1, total["library_masks"]),
        "ours_matched": both[1] / max(1, total["our_masks"]),
    }


def photograph(width: int = 4000, height: int = 3000) -> np.ndarray:
    """A drawn scene enlarged, with noise."""
    image = np.asarray(Image.fromarray(draw(0, "test").image).resize((width, height), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).integers(0, 20, (height, width, 1), np.uint8)
    return np.clip(image.astype(np.int16) + noise - 10, 0, 255).astype(np.uint8)


def memory(sam: Sam, points: int, stability: float, offset: float, keep_all: bool) -> dict[str, float]:
    """Peak of memory beyond the model's and the photograph's, in GiB, with the published filters, and after SAMS."""
    image = photograph()
    generate_proposals(
        sam, draw(0, "test").image, ProposalSettings(points_per_side=2, crop_n_layers=0)
    )  # whatever libraries keep
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = ProposalSettings(points_per_side=points, stability_score_thresh=stability, stability_score_offset=offset)
    if keep_all:
        settings = replace(settings, box_nms_thresh=1.0, crop_nms_thresh=1.0, level_overlap_thresh=0.0)
    begin = time.perf_counter()
    found = generate_proposals(sam, image, settings)
    result = {"masks": len(found), "seconds": time.perf_counter() - begin, "grown_gib": grown_since(before)}
    sams(torch.randn(4, 38, 50), range(4), found.masks, found.level, 0.6, found.size)
    return {**result, "with_sams_seconds": time.perf_counter() - begin, "with_sams_grown_gib": grown_since(before)}


def grown_since(before: int) -> float:
    """GiB by which the peak of the process is above ``before`` KiB."""
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sam", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="photographs instead of toyland's test split")
    parser.add_argument("--iou", type=float, default=0.88)
    parser.add_argument("--stability", type=float, default=0.95)
    parser.add_argument("--offset", type=float, default=1.0)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--points", type=int, default=32, help="per side of the grid")
    parser.add_argument("--keep-all", action="store_true", help="remove no duplicates, of --memory")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sam: Sam = ModelSet("tiny", given.device, sam=given.sam).sam
    if given.memory:
        result = memory(sam, given.points, given.stability, given.offset, given.keep_all)
    else:
        paths = sorted(given.folder.glob("*.jpg"))[: given.images] if given.folder else []
        images = map(read_rgb, paths) if given.folder else (draw(i, "test").image for i in range(given.images))
        result = compare(sam, images, given.iou, given.stability, given.offset, given.points)
    if given.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:16} {value:.4g}" for key, value in result.items()))


if __name__ == "__main__":
    main()
