"""Evaluate a SAM model on toyland, at the original image size.

    python evaluate_sam.py --sam ../../wsss_seed/models/tiny

Prints one JSON object: IoU with box and point prompts over the objects of the test split, and the recall of automatic
masks with thresholds calibrated on the val split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.utils.amg import batched_mask_to_box, build_point_grid, calculate_stability_score
from torchvision.ops import nms

from wsss_seed.data.toyland import Scene, draw
from wsss_seed.models.sam import Sam, load_sam

GRID, NMS, OFFSET = 16, 0.7, 0.5  # points per side, IoU of duplicate boxes, logit offset of the stability score
QUALITIES, STABILITIES = np.arange(0.1, 0.91, 0.05), np.arange(0.0, 0.96, 0.05)


def masks_of(scene: Scene) -> np.ndarray:
    """The objects' masks, bool (n, H, W)."""
    return np.stack([scene.instances == i + 1 for i in range(len(scene.objects))])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (n, m) between masks (n, H, W) and masks (m, H, W)."""
    a, b = (m.reshape(len(m), -1).astype(np.float32) for m in (a, b))
    both = a @ b.T
    return both / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - both, 1)


def central_pixel(mask: np.ndarray) -> tuple[int, int]:
    """x, y of the mask's pixel nearest to its centroid."""
    y, x = np.nonzero(mask)
    i = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
    return int(x[i]), int(y[i])


def prompted(sam: Sam, images: int, split: str = "test") -> dict[str, float]:
    """Mean IoU over the objects of a split.

    ``box``: exact box, single-mask output; ``box_loose``: each side of the box perturbed by up to a tenth;
    ``box_best``: highest predicted IoU of the three masks; ``box_whole``: the whole level. ``point``: most central
    pixel, highest predicted IoU of the three masks; ``point_whole``: the whole level; ``point_single``: the single-mask
    output; ``point_anywhere``: as ``point``, at a random pixel of the object. ``quality_error``: mean absolute error of
    the predicted IoU of ``box``.
    """
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = defaultdict(list)
    predictor = SamPredictor(sam.model)
    for index in range(images):
        scene = draw(index, split)
        truth, boxes = masks_of(scene), scene.boxes
        n = len(truth)
        own = np.arange(n)
        embedding = sam.embed(scene.image)

        def of_boxes(boxes: np.ndarray, multimask: bool, embedding=embedding) -> tuple[np.ndarray, np.ndarray]:
            low_res, quality = sam.decode_boxes(embedding, boxes, multimask=multimask)
            masks = sam.logits(embedding, low_res.flatten(0, 1)) > 0
            return masks.numpy(force=True), quality.numpy(force=True)

        masks, quality = of_boxes(boxes, False)
        exact = iou(masks, truth)[own, own]
        found["box"] += exact.tolist()
        found["quality_error"] += np.abs(quality[:, 0] - exact).tolist()
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        loose, _ = of_boxes(boxes + rng.uniform(-0.1, 0.1, boxes.shape) * sides, False)
        found["box_loose"] += iou(loose, truth)[own, own].tolist()
        masks, quality = of_boxes(boxes, True)
        found["box_best"] += iou(masks[own * 3 + quality.argmax(1)], truth)[own, own].tolist()
        found["box_whole"] += iou(masks[2::3], truth)[own, own].tolist()

        predictor.set_image(scene.image)
        for mask in truth:
            y, x = np.nonzero(mask)
            some = rng.integers(len(x))
            for name, point in (("point", central_pixel(mask)), ("point_anywhere", (x[some], y[some]))):
                answers, quality, _ = predictor.predict(np.array([point]), np.ones(1), multimask_output=True)
                found[name].append(float(iou(answers[[quality.argmax()]], mask[None])[0, 0]))
                if name == "point":
                    found["point_whole"].append(float(iou(answers[2:], mask[None])[0, 0]))
                    answers, _, _ = predictor.predict(np.array([point]), np.ones(1), multimask_output=False)
                    found["point_single"].append(float(iou(answers, mask[None])[0, 0]))
    return {"objects": len(found["box"])} | {k: round(float(np.mean(v)), 4) for k, v in found.items()}


def calibrate(sam: Sam, images: int) -> dict[str, float]:
    """Thresholds of automatic masks on the val split: the pair with the fewest masks among those whose recall at IoU
    0.5 and 0.75 is within half a point of the best pair."""
    predictor = SamPredictor(sam.model)
    recall = np.zeros((len(QUALITIES), len(STABILITIES), 2))
    masks_kept = np.zeros((len(QUALITIES), len(STABILITIES)))
    objects = 0
    for index in range(images):
        scene = draw(index, "val")
        predictor.set_image(scene.image)
        points = build_point_grid(GRID) * scene.image.shape[1::-1]
        points = torch.from_numpy(predictor.transform.apply_coords(points, scene.image.shape[:2]))[:, None]
        logits, quality, _ = predictor.predict_torch(points, torch.ones(len(points), 1), return_logits=True)
        logits, quality = logits.flatten(0, 1), quality.flatten()
        stability = calculate_stability_score(logits, 0.0, OFFSET)
        masks = logits > 0
        boxes = batched_mask_to_box(masks).float()
        overlaps = torch.from_numpy(iou(masks.numpy(), masks_of(scene)))
        objects += overlaps.shape[1]
        for i, least in enumerate(QUALITIES):
            for j, steady in enumerate(STABILITIES):
                kept = torch.nonzero((quality > float(least)) & (stability >= float(steady)))[:, 0]
                kept = kept[nms(boxes[kept], quality[kept], NMS)]
                masks_kept[i, j] += len(kept)
                if len(kept):
                    best = overlaps[kept].max(0).values
                    recall[i, j] += [float((best >= t).sum()) for t in (0.5, 0.75)]
    recall /= objects
    score = recall.sum(2)
    masks_kept[score < score.max() - 0.01] = np.inf
    i, j = np.unravel_index(masks_kept.argmin(), masks_kept.shape)
    return {
        "pred_iou_thresh": round(float(QUALITIES[i]), 2),
        "stability_score_thresh": round(float(STABILITIES[j]), 2),
        "stability_score_offset": OFFSET,
        "box_nms_thresh": NMS,
        "points_per_side": GRID,
        "val_recall_50": round(float(recall[i, j, 0]), 4),
        "val_recall_75": round(float(recall[i, j, 1]), 4),
        "val_masks_per_image": round(float(masks_kept[i, j] / images), 1),
    }


def automatic(sam: Sam, images: int, thresholds: dict[str, float]) -> dict[str, float]:
    """Recall of the objects of the test split by segment_anything's automatic masks."""
    settings = {k: v for k, v in thresholds.items() if not k.startswith("val_")}
    generator = SamAutomaticMaskGenerator(sam.model, points_per_batch=256, **settings)
    best: list[float] = []
    count = 0
    start = time.process_time()
    for index in range(images):
        scene = draw(index, "test")
        try:
            answers = [a["segmentation"] for a in generator.generate(scene.image)]
        except IndexError:  # the generator fails on images without any mask
            answers = []
        count += len(answers)
        best += iou(masks_of(scene), np.stack(answers)).max(1).tolist() if answers else [0.0] * len(scene.objects)
    found = np.array(best)
    return {
        "recall_50": round(float((found >= 0.5).mean()), 4),
        "recall_75": round(float((found >= 0.75).mean()), 4),
        "mean_best_iou": round(float(found.mean()), 4),
        "masks_per_image": round(count / images, 1),
        "core_seconds_per_image": round((time.process_time() - start) / images, 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sam", default="wsss_seed/models/tiny", help="folder or checkpoint, as load_sam takes it")
    parser.add_argument("--images", type=int, default=1000, help="test images for boxes and points")
    parser.add_argument("--automatic", type=int, default=1000, help="test images for automatic masks")
    parser.add_argument("--calibration", type=int, default=100, help="val images for the thresholds of automatic masks")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = load_sam(args.sam)
    figures: dict[str, dict[str, float]] = {}
    if args.images:
        figures["prompted"] = prompted(model, args.images)
    if args.calibration:
        figures["thresholds"] = calibrate(model, args.calibration)
        if args.automatic:
            figures["automatic"] = automatic(model, args.automatic, figures["thresholds"])
    print(json.dumps(figures, indent=2))
