"""Train the miniature CLIP on views of toyland and their captions.

    python train_clip.py --world DIR --out DIR
    python train_clip.py --out DIR --export ../../wsss_seed/models/tiny

Three stages: small crops of one object, then scenes, windows and crops at two larger sizes. Captions are
split into phrases. The image-text loss is a softmax, in both directions, over the distinct phrases of the batch, in
which an image has one positive per phrase of its caption. Classes and places whose presence is unknown count neither
way. Running the same command again after an interruption resumes from the last checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from clip_data import CAPTIONS, CONCEPTS, PRESENT, UNKNOWN, K, Views, average_precision, sentence
from make_bpe import BUNDLED
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, resize_pos_embed
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from world import arrays

from wsss_seed.data.toyland import CLASSES

CONTEXT = 32  # start, 16 learned context vectors, name, full stop, end, and room for longer names
CPU = torch.device("cpu")
EMBED_DIM = 128
VISION = {"layers": 6, "width": 128, "head_width": 32, "patch_size": 8, "pool_type": "tok"}
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 4, "layers": 3}


@dataclass(frozen=True)
class Stage:
    """A part of the training. ``floor`` is the share of the peak learning rates left at the end of the cosine."""

    size: int
    batch: int
    steps: int
    muon: float
    adamw: float
    warmup: int
    floor: float
    crops: float
    empty: float
    whole: float
    places: float


STAGES = (
    Stage(48, 128, 1200, 4e-3, 1e-3, 100, 0.1, crops=0.96, empty=0.04, whole=0.0, places=0.3),
    Stage(96, 64, 1600, 3e-3, 1e-3, 50, 0.1, crops=0.35, empty=0.06, whole=0.4, places=0.5),
    Stage(128, 32, 1100, 1e-3, 5e-4, 50, 0.15, crops=0.3, empty=0.06, whole=0.4, places=0.5),
    Stage(128, 32, 500, 5e-4, 2.5e-4, 20, 0.0, crops=0.25, empty=0.05, whole=0.7, places=0.5),
    Stage(128, 32, 800, 8e-4, 4e-4, 30, 0.0, crops=0.5, empty=0.05, whole=0.45, places=0.5),
)


def build(size: int, tokenizer: SimpleTokenizer) -> CLIP:
    """The model at one image size, with random weights."""
    text = {**TEXT, "vocab_size": tokenizer.vocab_size}
    return CLIP(embed_dim=EMBED_DIM, vision_cfg={**VISION, "image_size": size}, text_cfg=text)


def normalised(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (n, s, s, 3) to float32 (n, 3, s, s) with CLIP's mean and deviation."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (x - mean) / std


def loss_of(logits: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
    """Softmax with several positives, image to text and text to image.

    Args:
        logits: float (n, m) of n images and m phrases.
        facts: int (n, m) with PRESENT, ABSENT or UNKNOWN; each row and column has a PRESENT.
    """
    logits = logits.masked_fill(facts == UNKNOWN, -1e4)
    positive = (facts == PRESENT).float()
    to_text = positive / positive.sum(1, keepdim=True)
    to_image = positive / positive.sum(0, keepdim=True)
    return -(
        0.7 * (to_text * logits.log_softmax(1)).sum(1).mean() + 0.3 * (to_image * logits.log_softmax(0)).sum(0).mean()
    )


def optimizers(model: CLIP, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of both towers' blocks, AdamW for everything else."""
    named = [(n, p) for n, p in model.named_parameters()]
    blocks = [p for n, p in named if p.ndim == 2 and "resblocks" in n]
    rest = [p for n, p in named if not (p.ndim == 2 and "resblocks" in n)]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [
        torch.optim.AdamW(groups, lr=stage.adamw, betas=(0.9, 0.98)),
        torch.optim.Muon(blocks, lr=stage.muon, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]


def scheduled(stage: Stage, step: int) -> float:
    """Factor of the learning rates: linear warm-up times cosine to the stage's floor."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / stage.steps)
    return min(1.0, (step + 1) / stage.warmup) * (stage.floor + (1 - stage.floor) * cosine)


@torch.inference_mode()
def evaluate(model: CLIP, tokenizer: SimpleTokenizer, views: Views) -> tuple[float, float]:
    """Accuracy on crops of 1.3 times the object, and mAP of whole scenes, by cosine with the class phrases."""
    model.eval()
    device, size = model.logit_scale.device, model.visual.image_size[0]
    texts = [template.format(name) for name in CLASSES for template in CAPTIONS]
    text = model.encode_text(tokenizer(texts).to(device), normalize=True).view(K, len(CAPTIONS), -1).mean(1)
    text = F.normalize(text, dim=1)

    def cosines(boxes: list[tuple[int, np.ndarray]]) -> np.ndarray:
        out = []
        for at in range(0, len(boxes), 100):
            pixels = np.stack([views.pixels(i, box, size) for i, box in boxes[at : at + 100]])
            out.append(model.encode_image(normalised(pixels, device), normalize=True) @ text.T)
        return torch.cat(out).cpu().numpy()

    crops = [(i, j) for i in range(len(views)) for j in views.objects(i)]
    truth = np.array([views.data["classes"][i, j] for i, j in crops])
    accuracy = float((cosines([(i, views.crop(i, j, 1.3)) for i, j in crops]).argmax(1) == truth).mean())
    present = np.zeros((len(views), K), bool)
    for i in range(len(views)):
        present[i, views.data["classes"][i, views.objects(i)]] = True
    return accuracy, average_precision(cosines([(i, views.whole(i)) for i in range(len(views))]), present)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def note(path: Path, row: dict[str, Any]) -> None:
    """Print a line of the curve and add it to its file."""
    with path.open("a", newline="") as f:
        writer = csv.DictWriter(f, row)
        if f.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def export(checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint as a folder for ``load_clip``: arguments of open_clip's CLIP, fp16 weights, vocabulary."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {name: value.half().contiguous() for name, value in state["model"].items()}
    size = STAGES[state["stage"]].size
    vocabulary = len(weights["token_embedding.weight"])
    text = {**TEXT, "vocab_size": vocabulary, "tokenizer_kwargs": {"bpe_path": BUNDLED.name}}
    config = {"embed_dim": EMBED_DIM, "vision_cfg": {**VISION, "image_size": size}, "text_cfg": text}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "clip.safetensors")
    (folder / "clip.safetensors").chmod(0o644)
    (folder / "clip.json").write_text(json.dumps(config, indent=2) + "\n")
    if folder != BUNDLED.parent:
        shutil.copy(BUNDLED, folder)


def update(
    model: CLIP,
    opts: list[torch.optim.Optimizer],
    tokenizer: SimpleTokenizer,
    views: Views,
    stage: Stage,
    step: int,
    rng: np.random.Generator,
) -> float:
    """One step of the optimizers on a fresh batch; returns the loss."""
    for opt, peak in zip(opts, (stage.adamw, stage.muon), strict=True):
        for group in opt.param_groups:
            group["lr"] = peak * scheduled(stage, step)
    model.train()
    device = model.logit_scale.device
    pixels, facts = views.draw(rng, stage.batch, stage.size, stage.crops, stage.empty, stage.whole, stage.places)
    named = np.flatnonzero((facts == PRESENT).any(0))
    tokens = tokenizer([sentence(rng, CONCEPTS[c]) for c in named]).to(device)
    # On a CPU torch's fused attention is several times slower backward in bf16 at these sizes.
    kernels = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kernels), torch.autocast(device.type, torch.bfloat16):
        image = model.encode_image(normalised(pixels, device), normalize=True)
        text = model.encode_text(tokens, normalize=True)
    logits = model.logit_scale.exp() * image.float() @ text.float().T
    loss = loss_of(logits, torch.from_numpy(facts[:, named]).to(device))
    for opt in opts:
        opt.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(50))
    return loss.item()


def begin(number: int, stage: Stage, state: dict[str, Any], tokenizer: SimpleTokenizer, device: torch.device):
    """Model, optimizers, random generator and step with which a stage starts or resumes from a checkpoint."""
    torch.manual_seed(0)
    model = build(stage.size, tokenizer)
    if state:
        resize_pos_embed(state["model"], model)
        model.load_state_dict(state["model"])
    model = model.to(device)
    opts, rng = optimizers(model, stage), np.random.default_rng((number, 0))
    if state.get("stage") != number:
        return model, opts, rng, 0
    for opt, saved in zip(opts, state["optimizers"], strict=True):
        opt.load_state_dict(saved)
    rng.bit_generator.state = state["rng"]
    return model, opts, rng, state["step"]


def train(
    train_views: Views,
    val: Views,
    out: Path,
    stages: tuple[Stage, ...] = STAGES,
    device: torch.device = CPU,
    minutes: float = 5.0,
) -> None:
    """Run the remaining stages; writes a checkpoint and a line of the curve every ``minutes`` and after each stage."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = SimpleTokenizer(bpe_path=str(BUNDLED), context_length=CONTEXT)
    last = out / "last.pt"
    state: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=True) if last.exists() else {}
    samples, spent, begun = state.get("samples", 0), state.get("core_minutes", 0.0), time.process_time()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # holds for the CPU too
    for number, stage in enumerate(stages):
        if number < state.get("stage", 0):
            continue
        model, opts, rng, step = begin(number, stage, state, tokenizer, device)
        losses, since = [], time.monotonic()
        while step < stage.steps:
            losses.append(update(model, opts, tokenizer, train_views, stage, step, rng))
            step += 1
            if step < stage.steps and time.monotonic() - since < minutes * 60:
                continue
            speed = len(losses) * stage.batch / (time.monotonic() - since)
            samples += len(losses) * stage.batch
            accuracy, mean_ap = evaluate(model, tokenizer, val)
            state = {
                "stage": number,
                "step": step,
                "model": model.state_dict(),
                "optimizers": [opt.state_dict() for opt in opts],
                "rng": rng.bit_generator.state,
                "samples": samples,
                "core_minutes": spent + (time.process_time() - begun) / 60,
            }
            save(last, state)
            row = {
                "stage": number + 1,
                "size": stage.size,
                "step": step,
                "samples": samples,
                "core_minutes": round(state["core_minutes"], 2),
                "loss": round(float(np.mean(losses)), 4),
                "logit_scale": round(model.logit_scale.exp().item(), 2),
                "crop_accuracy": round(accuracy, 4),
                "map": round(mean_ap, 4),
                "samples_per_second": round(speed, 1),
            }
            note(out / "curve.csv", row)
            losses, since = [], time.monotonic()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("runs/world"), help="folder of world.py's arrays")
    parser.add_argument("--out", type=Path, default=Path("runs/clip"), help="checkpoint and curve")
    parser.add_argument("--images", type=int, default=40000, help="training scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes between checkpoints")
    parser.add_argument("--length", type=float, default=1.0, help="factor on the number of steps of every stage")
    parser.add_argument("--export", type=Path, help="only write the last checkpoint of --out to this folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.export:
        export(args.out / "last.pt", args.export.resolve())
        raise SystemExit
    longer = tuple(replace(stage, steps=round(stage.steps * args.length)) for stage in STAGES)
    scenes, val = (Views(arrays(split, n, args.world)) for split, n in (("train", args.images), ("val", 500)))
    train(scenes, val, args.out, longer, torch.device(args.device), args.minutes)
