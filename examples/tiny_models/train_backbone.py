"""First stage of the miniature detector: train its Swin backbone to classify toyland's objects per feature-map cell.

The published Grounding DINO starts from a backbone trained on ImageNet. This is its counterpart for the miniature:
linear heads on every feature level predict the class shares of each cell and the box of the object that covers most of
it. The heads are discarded.

    python train_backbone.py --world runs/world --out runs/detector --steps 1500

Running it again after an interruption resumes from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detector_model import Batch, Batches, build
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from world import arrays

from wsss_seed.data.toyland import CLASSES


class Heads(nn.Module):
    def __init__(self, channels: list[int]):
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(c, len(CLASSES) + 1 + 4, 1) for c in channels)

    def forward(self, features: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        return [m(f) for m, f in zip(self.maps, features, strict=True)]


def loss(maps: list[torch.Tensor], batch: Batch) -> tuple[torch.Tensor, float]:
    """Cross-entropy with class shares and an L1 on boxes, over all levels; the middle level's accuracy on objects."""
    number = torch.from_numpy(batch.classes.astype(np.int64) + 1)
    number = torch.cat(
        [torch.zeros(len(number), 1, dtype=torch.long), number.where(number <= len(CLASSES), torch.tensor(0))], 1
    )
    which = batch.instances.long()
    share_of_instance = F.one_hot(which, 5).permute(0, 3, 1, 2).float()
    total, right = torch.zeros(()), 0.0
    for level, m in enumerate(maps):
        m = m.float()
        inst = F.adaptive_avg_pool2d(share_of_instance, m.shape[-2:])
        share = torch.zeros(len(m), len(CLASSES) + 1, *m.shape[-2:])
        share.scatter_add_(1, number[:, :, None, None].expand_as(inst).contiguous(), inst)
        logit = m[:, : len(CLASSES) + 1]
        total = total - (share * logit.log_softmax(1)).sum(1).mean()
        best = inst[:, 1:].argmax(1)
        on = inst[:, 1:].amax(1) > 0.4
        h, w = m.shape[-2:]
        cx, cy = (torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h
        box = torch.gather(batch.boxes, 1, best.flatten(1)[:, :, None].expand(-1, -1, 4)).view(len(m), h, w, 4)
        target = torch.stack(
            [(box[..., 0] - cx) / 0.2, (box[..., 1] - cy[:, None]) / 0.2, box[..., 2] / 0.2, box[..., 3] / 0.2], 1
        )
        on &= box[..., 2] > 0
        error = (m[:, len(CLASSES) + 1 :] - target).abs().mean(1)
        total = total + 0.3 * (error * on).sum() / on.sum().clamp(min=1)
        if level == 1:
            right = ((logit.argmax(1) == share.argmax(1)) & on).sum().item() / max(int(on.sum()), 1)
    return total, right


def save(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=Path, default=Path("runs/world"))
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--images", type=int, default=40000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--muon", type=float, default=3e-3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # also affects unfused attention on the CPU
    rng = np.random.default_rng(0)
    batches = Batches(arrays("train", args.images, args.world), args.batch)
    swin = build().model.backbone.conv_encoder.model
    heads = Heads(list(swin.channels))
    matrices = [p for n, p in swin.named_parameters() if p.ndim == 2 and ".layers." in n and "bias" not in n]
    taken = {id(p) for p in matrices}
    rest = [p for p in [*swin.parameters(), *heads.parameters()] if id(p) not in taken]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.muon, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=args.lr, weight_decay=0.0, betas=(0.9, 0.98)),
    ]
    base = [args.muon, args.lr]
    parts = [swin, heads, *optimizers]
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, first = args.out / "backbone_checkpoint.pt", 0
    if checkpoint.exists():  # resume
        state = torch.load(checkpoint, weights_only=True)
        first = state["step"]
        rng.bit_generator.state = json.loads(state["rng"])
        for part, values in zip(parts, state["parts"], strict=True):
            part.load_state_dict(values)
    began, mean = time.time(), None
    for step in range(first, args.steps):
        rate = min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        for o, lr in zip(optimizers, base, strict=True):
            o.param_groups[0]["lr"] = lr * rate
        batch = batches.draw(rng)
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
            maps = heads(swin(batch.pixels).feature_maps)
        value, right = loss(maps, batch)
        for o in optimizers:
            o.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_([*swin.parameters(), *heads.parameters()], 1.0)
        for o in optimizers:
            o.step()
        now = np.array([value.item(), right])
        mean = now if mean is None else 0.95 * mean + 0.05 * now
        if step % 10 == 0:
            seen = (step + 1) * args.batch
            speed = (step + 1 - first) * args.batch / (time.time() - began)
            print(f"{step} images={seen} loss={mean[0]:.3f} accuracy={mean[1]:.3f} {speed:.0f} img/s", flush=True)
        if step % 100 == 99 or step + 1 == args.steps:
            where = {"step": step + 1, "rng": json.dumps(rng.bit_generator.state)}
            save(checkpoint, {"parts": [part.state_dict() for part in parts], **where})
            save(args.out / "backbone.pt", swin.state_dict())
