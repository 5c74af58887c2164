"""Train the bundled miniature of Segment Anything on toyland, with segment_anything's own classes.

    python train_sam.py --world runs/world --out runs/sam --iterations 11500

Running it again after an interruption resumes. The learning rate warms up, stays constant, and decays linearly over the
last ``DECAY`` of the iterations, so --iterations can be lowered during training to end it sooner.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor
from world import NONE, SIDE, arrays

from wsss_seed.models.sam import build_sam

CONFIG = {
    "image_encoder": {
        "img_size": SIDE,
        "patch_size": 8,
        "embed_dim": 128,
        "depth": 6,
        "num_heads": 4,
        "mlp_ratio": 4,
        "out_chans": 96,
        "qkv_bias": True,
        "use_rel_pos": True,
        "window_size": 8,
        "global_attn_indexes": [2, 5],
    },
    "prompt_encoder": {
        "embed_dim": 96,
        "image_embedding_size": [16, 16],
        "input_image_size": [SIDE, SIDE],
        "mask_in_chans": 8,
    },
    "transformer": {"depth": 2, "embedding_dim": 96, "mlp_dim": 256, "num_heads": 4},
    "mask_decoder": {
        "num_multimask_outputs": 3,
        "transformer_dim": 96,
        "iou_head_depth": 3,
        "iou_head_hidden_dim": 128,
    },
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
}
BATCH, POINTS, BOXES = 8, 4, 2  # images per step, prompts per image
MATRIX_LR, OTHER_LR, WARMUP, DECAY = 1.5e-3, 1e-3, 200, 0.6
SMALLEST = 12  # pixels below which a mask is not used as a target
# Loss weights of the mask tokens: the single-mask token, then levels 0 (sub-part), 1 (part) and 2 (whole).
POINT_WEIGHTS, BOX_WEIGHTS = (0.5, 0.2, 0.2, 1.0), (1.0, 0.1, 0.1, 0.3)
# A part's predicted IoU looks mostly at the whole object, because that is what a single point usually asks for.
WHOLE_SHARE = 0.7


@dataclass
class Batch:
    """``masks`` bool (n, 3, SIDE, SIDE) holds the levels of each prompt; its points come first, then its boxes."""

    images: Tensor
    inside: Tensor
    points: Tensor
    boxes: Tensor
    masks: Tensor
    image_of: Tensor


def piece_at(region: np.ndarray, y: int, x: int) -> np.ndarray:
    """The connected piece of a mask (h, w) that holds a pixel."""
    _, pieces = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    return pieces == pieces[y, x]


def levels_at(instances: np.ndarray, parts: np.ndarray, y: int, x: int) -> np.ndarray:
    """Sub-part, part and whole under a pixel, (3, h, w): piece of a part, part, object; on the background the piece of
    background, then all of it."""
    whole = instances == instances[y, x]
    part = whole & (parts == parts[y, x])
    return np.stack([piece_at(part, y, x), part, whole])


def loose_box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The box of a mask, x0 y0 x1 y1: exact in four of ten cases, else with sides perturbed by up to a tenth."""
    y, x = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    box = np.array([x[0], y[0], x[-1] + 1, y[-1] + 1], np.float32)
    if rng.random() < 0.6:
        w, h = box[2] - box[0], box[3] - box[1]
        box += rng.uniform(-0.1, 0.1, 4).astype(np.float32) * (w, h, w, h)
    return box


def prompts(
    instances: np.ndarray, parts: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Draw the prompts of one image: points x y, boxes, and masks (3, h, w) for the points followed by the boxes."""
    sizes = np.bincount(instances.ravel())
    objects = np.nonzero(sizes[1:] >= SMALLEST)[0] + 1
    sizes = np.bincount(parts.ravel())
    pieces = np.nonzero(sizes[1:] >= SMALLEST)[0] + 1
    points, boxes, of_points, of_boxes = [], [], [], []
    for i in range(POINTS):
        if not len(objects) or (i == 0 and rng.random() < 0.6):
            region = instances == 0
        elif i % 2 and len(pieces):
            region = parts == rng.choice(pieces)
        else:
            region = instances == rng.choice(objects)
        where = np.flatnonzero(region)
        y, x = divmod(int(rng.choice(where)) if len(where) else 0, region.shape[1])
        points.append(np.array([x, y], np.float32) + rng.uniform(-0.5, 0.5, 2).astype(np.float32))
        of_points.append(levels_at(instances, parts, y, x))
    for i in range(BOXES):
        if not len(objects):
            region = instances == 0
        elif i == 0 and len(pieces) and rng.random() < 0.5:
            region = parts == rng.choice(pieces)
        else:
            region = instances == rng.choice(objects)
        boxes.append(loose_box(region, rng))
        of_boxes.append(np.stack([region] * 3))
    return points, boxes, of_points + of_boxes


def batch(data: dict[str, np.ndarray], rows: np.ndarray, rng: np.random.Generator) -> Batch:
    """Images (float, not yet normalised) and prompts; half of the images mirrored, each with a random gain."""
    images = np.zeros((len(rows), SIDE, SIDE, 3), np.float32)
    inside = np.zeros((len(rows), 1, SIDE, SIDE), np.float32)
    points, boxes, of_points, of_boxes = [], [], [], []
    for k, row in enumerate(rows):
        h, w = data["sizes"][row]
        step = -1 if rng.random() < 0.5 else 1
        image, instances, parts = (data[key][row, :h, :w][:, ::step] for key in ("images", "instances", "parts"))
        gain = rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3)
        images[k, :h, :w] = np.clip(image * gain, 0, 255)
        inside[k, :, :h, :w] = 1
        p, b, m = prompts(instances, parts, rng)
        m = [np.pad(a, ((0, 0), (0, SIDE - h), (0, SIDE - w))) for a in m]
        points += p
        boxes += b
        of_points += m[:POINTS]
        of_boxes += m[POINTS:]
    image_of = np.concatenate([np.repeat(np.arange(len(rows)), n) for n in (POINTS, BOXES)])
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(inside),
        torch.from_numpy(np.stack(points)),
        torch.from_numpy(np.stack(boxes)),
        torch.from_numpy(np.stack(of_points + of_boxes)),
        torch.from_numpy(image_of),
    )


def encode(sam: Sam, images: Tensor, inside: Tensor) -> Tensor:
    """As Sam.preprocess: the padding is zero after normalisation, not before."""
    return sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std * inside)


def decode(sam: Sam, embeddings: Tensor, image_of: Tensor, points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """All four masks of prompts on several images: logits (n, 4, SIDE / 2, SIDE / 2) and predicted IoU (n, 4).

    The decoder adds one image embedding to a dense prompt per mask; differences between the images are passed as dense
    prompts.
    """
    sparse = []
    if len(points):
        ones = torch.ones(len(points), 1, device=points.device)
        sparse.append(sam.prompt_encoder(points=(points[:, None], ones), boxes=None, masks=None)[0])
    if len(boxes):
        sparse.append(sam.prompt_encoder(points=None, boxes=boxes, masks=None)[0])
    dense = embeddings[image_of] + sam.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(dense[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=torch.cat(sparse),
        dense_prompt_embeddings=dense,
    )


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks, float 0 and 1, over the last two axes."""
    both = (a * b).sum((-2, -1))
    return both / (a.sum((-2, -1)) + b.sum((-2, -1)) - both).clamp(min=1)


def losses(logits: Tensor, quality: Tensor, b: Batch) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Mask loss (20 focal + dice, as Segment Anything's), squared error of the predicted IoU, and running figures."""
    target = F.avg_pool2d(b.masks.float(), 2)
    target = torch.cat([target[:, 2:], target], 1)
    valid = -F.max_pool2d(-b.inside, 2)[b.image_of]
    logits, quality = logits.float(), quality.float()
    p = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    off = p - target
    focal = (off * off * cross * valid).mean((2, 3))
    p, t = p * valid, target * valid
    dice = 1 - (2 * (p * t).sum((2, 3)) + 1) / (p.sum((2, 3)) + t.sum((2, 3)) + 1)
    n = len(b.points)
    weights = torch.tensor([POINT_WEIGHTS] * n + [BOX_WEIGHTS] * len(b.boxes), device=logits.device)
    mask_loss = ((20 * focal + dice) * weights).sum() / weights.sum()
    with torch.no_grad():
        found, true = (logits > 0) * valid, (target > 0.5) * valid
        own, whole = overlap(found, true), overlap(found, true[:, 3:])
        asked = own.clone()
        asked[:n, 1:3] = WHOLE_SHARE * whole[:n, 1:3] + (1 - WHOLE_SHARE) * own[:n, 1:3]
    figures = {
        "box": own[n:, 0].mean().item(),
        "whole": own[:n, 3].mean().item(),
        "part": own[:n, 2].mean().item(),
        "piece": own[:n, 1].mean().item(),
    }
    return mask_loss, F.mse_loss(quality, asked), figures


@torch.no_grad()
def validate(sam: Sam, data: dict[str, np.ndarray], images: int) -> dict[str, float]:
    """Mean IoU over objects, at SIDE pixels: from the exact box, and from the object's most central pixel by the mask
    of the highest predicted IoU, by the whole level and by the single-mask token."""
    sam.eval()
    found: dict[str, list[float]] = {"box_iou": [], "point_iou": [], "point_whole": [], "point_single": []}
    for row in range(images):
        h, w = data["sizes"][row]
        instances = np.array(data["instances"][row, :h, :w])
        masks = [instances == i + 1 for i in range(int((data["classes"][row] != NONE).sum()))]
        masks = [m for m in masks if m.any()]
        if not masks:
            continue
        points, boxes = [], []
        for m in masks:
            y, x = np.nonzero(m)
            i = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
            points.append((x[i], y[i]))
            boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
        image = torch.from_numpy(np.array(data["images"][row, :h, :w])).permute(2, 0, 1).float()
        embedding = sam.image_encoder(sam.preprocess(image)[None])
        n = len(masks)
        p, b = torch.tensor(np.array(points)).float(), torch.tensor(np.array(boxes)).float()
        low, quality = decode(sam, embedding, torch.zeros(2 * n, dtype=torch.long), p, b)
        true = torch.from_numpy(np.stack(masks))[:, None].float()
        iou = overlap((sam.postprocess_masks(low, (h, w), (h, w)) > 0).float(), torch.cat([true, true]))
        best = quality[:n, 1:].argmax(1) + 1
        found["box_iou"] += iou[n:, 0].tolist()
        found["point_iou"] += iou[torch.arange(n), best].tolist()
        found["point_whole"] += iou[:n, 3].tolist()
        found["point_single"] += iou[:n, 0].tolist()
    sam.train()
    return {key: round(float(np.mean(v)), 4) for key, v in found.items()}


def optimizers(sam: Sam) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the encoder's blocks and the decoder's transformer, AdamW for everything else."""
    matrices, rest = [], []
    for name, p in sam.named_parameters():
        inner = name.startswith(("image_encoder.blocks", "mask_decoder.transformer"))
        (matrices if inner and p.ndim == 2 and "rel_pos" not in name else rest).append(p)
    return [
        torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=OTHER_LR, weight_decay=0.02, betas=(0.9, 0.98)),
    ]


def save(path: Path, state: object) -> None:
    """Write a file atomically."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def train(world: Path, out: Path, iterations: int, images: int, seed: int = 0) -> None:
    out.mkdir(parents=True, exist_ok=True)
    data, val = arrays("train", images, world), arrays("val", 500, world)
    torch.manual_seed(seed)
    sam = build_sam(CONFIG).train()
    opts = optimizers(sam)
    start, spent = 0, 0.0
    checkpoint, curve = out / "checkpoint.pt", out / "curve.csv"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        sam.load_state_dict(state["model"])
        for opt, s in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(s)
        start, spent = state["iteration"], state["seconds"]
        print(f"resuming at iteration {start}", flush=True)
    clock = time.process_time() - spent
    mean: dict[str, float] = {}
    for it in range(start, iterations):
        # Each iteration has its own random stream, so that resumed training sees the same data.
        rng = np.random.default_rng((seed, it))
        rate = min(1.0, (it + 1) / WARMUP, (iterations - it) / (DECAY * iterations))
        for opt, lr in zip(opts, (MATRIX_LR, OTHER_LR), strict=True):
            opt.param_groups[0]["lr"] = lr * rate
        b = batch(data, np.sort(rng.choice(images, BATCH, replace=False)), rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits, quality = decode(sam, encode(sam, b.images, b.inside), b.image_of, b.points, b.boxes)
        mask_loss, iou_loss, figures = losses(logits, quality, b)
        for opt in opts:
            opt.zero_grad()
        (mask_loss + iou_loss).backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        for opt in opts:
            opt.step()
        figures = {"mask": mask_loss.item(), "iou_mse": iou_loss.item()} | figures
        mean = {k: 0.98 * mean.get(k, v) + 0.02 * v for k, v in figures.items()}
        done, seconds = it + 1, time.process_time() - clock
        if done % 50 == 0:
            shown = " ".join(f"{k} {v:.4f}" for k, v in mean.items())
            print(f"{done}/{iterations} {shown} {done * BATCH / seconds:.1f} images/core-s", flush=True)
        if done % 500 == 0 or done == iterations:
            state = {"model": sam.state_dict(), "optimizers": [o.state_dict() for o in opts], "iteration": done}
            save(checkpoint, state | {"seconds": seconds})
            row = {"images": done * BATCH, "core_minutes": round(seconds / 60, 2)}
            row |= validate(sam, val, 500 if done == iterations else 150)
            print(json.dumps(row), flush=True)
            new = not curve.exists()
            with curve.open("a", newline="") as f:
                writer = csv.DictWriter(f, row)
                if new:
                    writer.writeheader()
                writer.writerow(row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("runs/world"), help="folder of world.py's arrays")
    parser.add_argument("--out", type=Path, default=Path("runs/sam"))
    parser.add_argument("--iterations", type=int, default=11500)
    parser.add_argument("--images", type=int, default=40000, help="training images")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.world, args.out, args.iterations, args.images)
