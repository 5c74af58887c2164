"""Second stage of the miniature detector: train the whole Grounding DINO to detect toyland's objects from captions.

    python train_detector.py --world runs/world --out runs/detector --backbone runs/detector/backbone.pt

Running it again after an interruption resumes from the last checkpoint. ``--finish N`` ends the schedule early: the
learning rate decays to zero within N steps from the checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detection_figures import Found, figures
from detector_model import CLS, DOT, MEAN, SEP, STD, Batch, Batches, build, vocabulary
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.ops import generalized_box_iou
from world import arrays

from wsss_seed.data.toyland import CLASSES

WORD = {w: i for i, w in enumerate(vocabulary())}
LETTERS = [i for w, i in WORD.items() if w.startswith("##") or (len(w) == 1 and w.isalpha())]
NO_PHRASE = -1
APART = (
    "bias",
    "bbox_embed",
    "reference_points_head",
    "sampling_offsets",
    "attention_weights",
)  # not optimised with Muon


# Model ------------------------------------------------------------------------------------------------------------


def start(model: nn.Module, backbone: Path | None) -> None:
    """Set the first weights: the trained backbone, and a prior of about sigmoid(-4) for all dot products with texts.

    The prior lies in channel 0 of the texts' last LayerNorm, of the proposals' and of each decoder layer's last. The
    final norm of the decoder must stay unchanged, because the same head refines boxes before it and predicts them after
    it.
    """
    if backbone is not None:
        model.model.backbone.conv_encoder.model.load_state_dict(torch.load(backbone, weights_only=True))
    proposals, texts = model.model.enc_output_norm, model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    with torch.no_grad():
        for norm in (proposals, texts, *(layer.final_layer_norm for layer in model.model.decoder.layers)):
            norm.weight[0], norm.bias[0] = 0, 2
        texts.bias[0] = -2
        texts.weight *= 0.25
        proposals.weight *= 0.5


def forward(model: nn.Module, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (layers, b, queries, tokens) and boxes (layers, b, queries, 4) of the decoder, then the same of the
    encoder's proposals without the first axis. Padding tokens get -30."""
    real = ids != 0
    out = model.model(
        pixel_values=pixels, input_ids=ids, token_type_ids=torch.zeros_like(ids), attention_mask=real.long()
    )
    logits, boxes = [], []
    for k in range(out.intermediate_hidden_states.shape[1]):
        state = out.intermediate_hidden_states[:, k]
        before = out.init_reference_points if k == 0 else out.intermediate_reference_points[:, k - 1]
        logits.append(state @ out.encoder_last_hidden_state_text.transpose(1, 2))
        boxes.append((model.bbox_embed[k](state).float() + torch.special.logit(before.float(), eps=1e-5)).sigmoid())
    hide = ~real[:, None]
    proposals = out.enc_outputs_class[..., : ids.shape[1]].float().masked_fill(hide, -30.0)
    return (
        torch.stack(logits).float().masked_fill(hide, -30.0),
        torch.stack(boxes),
        proposals,
        out.enc_outputs_coord_logits.float().sigmoid(),
    )


# Captions ---------------------------------------------------------------------------------------------------------


def captions(classes: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A caption per image: half of them name all classes in random order, the others some present and some absent
    classes; some captions contain a meaningless word.

    Returns:
        ids int64 (b, tokens), padded with 0; place int64 (b, 4), the token of each object, NO_PHRASE if not named.
    """
    rows, place = [], np.full(classes.shape, NO_PHRASE)
    for b, present in enumerate(classes):
        order = rng.permutation(len(CLASSES))
        if rng.random() < 0.5:
            there = np.isin(order, present)
            named = order[there & (rng.random(len(order)) < 0.9)]
            absent = order[~there]
            order = rng.permutation(np.concatenate([named, absent[: rng.integers(len(absent) + 1)]]))
            if not len(order):
                order = absent[:1]
        row = [CLS]
        for c in order:
            place[b, present == c] = len(row)
            row += [WORD[CLASSES[c]], DOT]
        if rng.random() < 0.1:
            row += [*rng.choice(LETTERS, rng.integers(2, 7)), DOT]
        rows.append([*row, SEP])
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, into in zip(rows, ids, strict=True):
        into[: len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(place)


# Losses -----------------------------------------------------------------------------------------------------------


def corners(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25) -> Tensor:
    """Sigmoid focal loss with gamma 2, summed."""
    p = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = p + target - 2 * p * target
    return ((alpha * target + (1 - alpha) * (1 - target)) * ce * miss**2).sum()


def box_loss(predicted: Tensor, target: Tensor, count: float) -> Tensor:
    overlap = torch.diag(generalized_box_iou(corners(predicted), corners(target)))
    return (5 * (predicted - target).abs().sum() + 2 * (1 - overlap).sum()) / count


def assign(cost: Tensor, valid: Tensor) -> Tensor:
    """The cheapest one-to-one assignment of queries to at most four objects, exactly and for the whole batch at once.

    The query of an object is among its four cheapest, because the other objects can take at most three of them: 4^4
    choices are compared.

    Args:
        cost: (layers, b, q, 4); valid: bool (b, 4), objects that need a query.

    Returns:
        int64 (layers, b, 4), the query of each object; meaningless where not valid.
    """
    cost = cost * valid[None, :, None]
    cheapest = cost.topk(4, dim=2, largest=False)
    choice = torch.cartesian_prod(*[torch.arange(4)] * 4)
    column = torch.arange(4)
    price, query = cheapest.values[:, :, choice, column], cheapest.indices[:, :, choice, column]
    clash = torch.zeros(price.shape[:3], dtype=torch.bool)
    for i in range(4):
        for j in range(i):
            clash |= (query[..., i] == query[..., j]) & (valid[:, i] & valid[:, j])[None, :, None]
    best = (price.sum(3) + 1e4 * clash).argmin(2)
    return query.gather(2, best[:, :, None, None].expand(-1, -1, 1, 4))[:, :, 0]


def decoder_loss(logits: Tensor, boxes: Tensor, truth: Tensor, place: Tensor) -> Tensor:
    """Hungarian matching on focal cost 2, L1 5 and generalised IoU 2; the same terms as loss, summed over layers.

    Args:
        logits: (layers, b, q, t); boxes: (layers, b, q, 4) cx cy w h; truth: (b, 4, 4); place: (b, 4).
    """
    layers, _, q, _ = logits.shape
    valid = place != NO_PHRASE
    with torch.no_grad():
        token = place.clamp(min=0)[None, :, None, :].expand(layers, -1, q, -1)
        p = logits.gather(3, token).sigmoid()
        cost = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log() - 0.75 * p**2 * -(1 - p + 1e-8).log()
        distance = (boxes[:, :, :, None] - truth[None, :, None]).abs().sum(-1)
        mine, other = corners(boxes)[:, :, :, None], corners(truth)[None, :, None]
        inner = (torch.minimum(mine[..., 2:], other[..., 2:]) - torch.maximum(mine[..., :2], other[..., :2])).clamp(
            min=0
        )
        outer = torch.maximum(mine[..., 2:], other[..., 2:]) - torch.minimum(mine[..., :2], other[..., :2])
        both, hull = inner.prod(-1), outer.prod(-1)
        union = (mine[..., 2:] - mine[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - both
        cost = 2 * cost + 5 * distance - 2 * (both / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6))
        rows = assign(cost, valid)
    count = max(int(valid.sum()), 1)
    target = torch.zeros_like(logits)
    k, n, c = valid.expand(layers, -1, -1).nonzero(as_tuple=True)
    if not len(c):
        return 2 * focal(logits, target) / count
    r = rows[k, n, c]
    target[k, n, r, place[n, c]] = 1
    return 2 * focal(logits, target) / count + box_loss(boxes[k, n, r], truth[n, c], count)


def proposal_loss(logits: Tensor, boxes: Tensor, truth: Tensor, place: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Dense loss on the encoder's proposals: each object belongs to one level, by its size, and there to the four cells
    nearest its centre. (The library's own loss leaves the proposals without a useful gradient.)

    Args:
        logits: (b, n, t); boxes: (b, n, 4); truth: (b, 4, 4); place: (b, 4); shapes: height and width of the levels.
    """
    centres = torch.cat(
        [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(1)
            for h, w in shapes
        ]
    )  # fmt: skip
    level = torch.cat([torch.full((h * w,), k) for k, (h, w) in enumerate(shapes)])
    side = truth[..., 2:].amax(-1)
    home = (side > 0.28).long() + (side > 0.56).long()
    away = (centres[None, :, None] - truth[:, None, :, :2]).abs() / truth[:, None, :, 2:].clamp(min=1e-6)
    away = away.amax(-1) + 99.0 * ((level[None, :, None] != home[:, None]) | (place == NO_PHRASE)[:, None])
    nearest = away.topk(4, dim=1, largest=False)
    chosen = torch.full_like(away, 999.0)
    distance = nearest.values.clone()
    distance[:, 1:][distance[:, 1:] >= 0.4] = 999.0
    chosen.scatter_(1, nearest.indices, distance)
    best, which = chosen.min(2)
    b, n = (best < 9).nonzero(as_tuple=True)
    target = torch.zeros_like(logits)
    if not len(b):
        return 2 * focal(logits, target)
    target[b, n, place[b, which[b, n]]] = 1
    return 2 * focal(logits, target) / len(b) + box_loss(boxes[b, n], truth[b, which[b, n]], len(b))


def loss(model: nn.Module, batch: Batch, ids: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's and the proposals' loss."""
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        logits, boxes, proposals, coarse = forward(model, batch.pixels, ids)
    h, w = batch.pixels.shape[-2:]
    shapes = [(-(-h // s), -(-w // s)) for s in (8, 16, 32)]
    return decoder_loss(logits, boxes, batch.boxes, place), proposal_loss(proposals, coarse, batch.boxes, place, shapes)


# Figures ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def look(model: nn.Module, world: dict[str, np.ndarray], count: int) -> list[Found]:
    """The model's boxes on the first images of a split, with all classes in the caption, one image at a time."""
    ids = torch.tensor([[CLS, *[t for c in CLASSES for t in (WORD[c], DOT)], SEP]])
    out = []
    for i in range(count):
        h, w = world["sizes"][i].astype(int)
        pixels = (torch.from_numpy(world["images"][i, :h, :w].copy()).permute(2, 0, 1).float() - MEAN) / STD
        logits, boxes, _, _ = forward(model, pixels[None], ids)
        scores = logits[-1, 0].sigmoid().numpy()
        found = (corners(boxes[-1, 0]).clamp(0, 1) * torch.tensor([w, h, w, h])).numpy()
        there = world["classes"][i] != 255
        out.append(Found(found, scores.max(1), scores[:, 1:-1:2], world["boxes"][i][there], world["classes"][i][there]))
    return out


# Training ---------------------------------------------------------------------------------------------------------


def optimizers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for everything else."""
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "muon backbone": [], "adam": [], "adam backbone": []}
    for name, p in model.named_parameters():
        blocks = ".layers." in name and p.ndim == 2 and min(p.shape) >= 32 and not any(w in name for w in APART)
        kind = "muon" if blocks and args.muon else "adam"
        groups[kind + (" backbone" if "conv_encoder" in name else "")].append(p)
    out: list[torch.optim.Optimizer] = []
    if args.muon:
        pairs = [(groups["muon"], args.muon), (groups["muon backbone"], args.muon * args.backbone_rate)]
        out.append(
            torch.optim.Muon(
                [{"params": p, "lr": r, "base": r} for p, r in pairs], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
            )
        )
    pairs = [(groups["adam"], args.lr), (groups["adam backbone"], args.lr * args.backbone_rate)]
    out.append(torch.optim.AdamW([{"params": p, "lr": r, "base": r} for p, r in pairs], weight_decay=1e-4))
    return out


def rate(step: int, schedule: tuple[int, int, float]) -> float:
    """Learning rate as a share of its base: warm-up over 200 steps, then a cosine to zero.

    A schedule is (first step, last step, share at the first).
    """
    first, last, top = schedule
    t = min(max((step - first) / max(last - first, 1), 0), 1)
    return min(1, (step + 1) / 200) * top * (0.5 + 0.5 * math.cos(math.pi * t))


def save(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # also affects unfused attention on the CPU
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    train, val = arrays("train", args.images, args.world), arrays("val", 500, args.world)
    batches = Batches(train, args.batch)
    model = build()
    model.train()
    schedule, step, spent = (0, args.steps, 1.0), 0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
    else:
        state = None
        start(model, args.backbone)
    mean_model = copy.deepcopy(model).eval()  # running mean of the weights, which is evaluated and exported
    optims = optimizers(model, args)
    if state is not None:
        mean_model.load_state_dict(state["mean"])
        for o, s in zip(optims, state["optimizers"], strict=True):
            o.load_state_dict(s)
        rng.bit_generator.state = json.loads(state["rng"])
        schedule, step, spent = tuple(state["schedule"]), state["step"], state["spent"]
        print(f"resuming from step {step}", flush=True)
    if args.finish:
        schedule = (step, step + args.finish, rate(step, schedule))
    weights, means = list(model.parameters()), list(mean_model.parameters())
    log = args.out / "metrics.csv"
    if not log.exists():
        log.write_text("step,images,core_minutes,ap50,recall,class_accuracy,decoder_loss,proposal_loss\n")
    began, mean, at = time.process_time() - spent * 60, None, (time.time(), step)
    while step < schedule[1]:
        for o in optims:
            for g in o.param_groups:
                g["lr"] = g["base"] * rate(step, schedule)
        side = int(rng.integers(args.small, 129)) if step < 0.7 * schedule[1] else 128
        batch = batches.draw(rng, side)
        ids, place = captions(batch.classes, rng)
        decoder, proposals = loss(model, batch, ids, place)
        (decoder + proposals).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for o in optims:
            o.step()
            o.zero_grad()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 1 - min(0.998, step / (step + 20)))
        now = np.array([decoder.item(), proposals.item()])
        mean = now if mean is None else 0.98 * mean + 0.02 * now
        if step % 50 == 0:
            speed = (step - at[1]) * args.batch / (time.time() - at[0])
            at = (time.time(), step)
            minutes = (time.process_time() - began) / 60
            print(
                f"{step} {minutes:.1f} core-min decoder={mean[0]:.3f} proposals={mean[1]:.3f} {speed:.1f} img/s",
                flush=True,
            )
        last = step == schedule[1]
        if step % args.every == 0 or last:
            minutes = (time.process_time() - began) / 60
            state = {
                "model": model.state_dict(), "mean": mean_model.state_dict(),
                "optimizers": [o.state_dict() for o in optims],
                "rng": json.dumps(rng.bit_generator.state), "schedule": schedule, "step": step, "spent": minutes,
            }  # fmt: skip
            save(checkpoint, state)
        if step % args.measure == 0 or last:
            f = figures(look(mean_model, val, 500 if last else 200), len(CLASSES))
            at = (time.time(), step)
            print(step, f, flush=True)
            with log.open("a", newline="") as file:
                row = [f["ap50"], f["recall"], f["class_accuracy"], *mean]
                csv.writer(file).writerow([step, step * args.batch, f"{minutes:.1f}", *(f"{v:.4f}" for v in row)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("runs/world"), help="folder of world.py's arrays")
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--backbone", type=Path, help="weights of train_backbone.py; default: random weights")
    parser.add_argument("--images", type=int, default=40000)
    parser.add_argument("--steps", type=int, default=3100)
    parser.add_argument("--finish", type=int, default=0, help="end within N steps from the checkpoint")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=8e-4, help="AdamW's learning rate")
    parser.add_argument("--muon", type=float, default=2.5e-3, help="Muon's learning rate; 0: AdamW for everything")
    parser.add_argument("--backbone-rate", type=float, default=0.5, help="the backbone's share of the learning rates")
    parser.add_argument(
        "--small", type=int, default=92, help="smallest longest side in the first 70 %% of the schedule"
    )
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument(
        "--measure", type=int, default=500, help="steps between evaluations on val; a multiple of --every"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
