"""Fine-tune the miniature CLIP so that each patch token represents its own region, as class activation maps require.

    python train_clip_regions.py --world DIR --out DIR
    python train_clip_regions.py --out DIR --export ../../wsss_seed/models/tiny_regions

Starts from the bundled CLIP, whose training used only its class token: the mean of its patches is a poor classifier,
a patch may represent the content of another one, and little of it passes through the attention of the last block, which
is all that Softmax-GradCAM uses. Three changes fix this, again without boxes or masks in the loss:

- Mosaics: an image consists of 1, 2 x 2 or 4 x 4 views with separate captions, and the mean of the patches of a tile
  is classified among the captions of all tiles (as in CLIM, arXiv 2312.11376). The grid is shifted at random, so that
  its borders cannot be memorised.
- The same loss is applied a second time without the residual stream of the last block, so that its attention suffices.
- Half of the patches are dropped (as in FLIP, arXiv 2212.00794), so that no few patches represent the whole image; this
  also halves the training time.

Running the same command again after an interruption resumes from the last checkpoint.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from clip_data import CAPTIONS, CONCEPTS, PRESENT, K, Views, average_precision, sentence
from make_bpe import BUNDLED
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from train_clip import (
    CONTEXT,
    CPU,
    Stage,
    build,
    evaluate,
    export,
    loss_of,
    normalised,
    note,
    optimizers,
    save,
    scheduled,
)
from world import arrays

from wsss_seed.data.toyland import CLASSES

SIZE, GRID = 128, 16
KEPT = GRID * GRID // 2
# tiles per side: share of the batches, batch size, shares of one-object crops, of empty views and of whole scenes
MOSAICS = {1: (0.3, 32, 0.4, 0.05, 0.5), 2: (0.35, 24, 0.6, 0.1, 0.5), 4: (0.35, 16, 0.85, 0.1, 0.2)}
PLACES = 0.5
CYCLES = [3000, 4000]


def stage(steps: int) -> Stage:
    """Learning rates of the run, in the words of ``train_clip``."""
    return Stage(SIZE, 0, steps, 1.2e-3, 6e-4, 30, 0.0, crops=0, empty=0, whole=0, places=PLACES)


def mosaic(views: Views, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random batch of n images of m x m tiles.

    Returns:
        pixels uint8 (n, 128, 128, 3), facts int8 (n * m * m, 20) per tile, and the tile of each patch, int (256,).
    """
    shares = np.array([share for share, *_ in MOSAICS.values()])
    m = int(rng.choice(list(MOSAICS), p=shares / shares.sum()))
    _, n, crops, empty, whole = MOSAICS[m]
    side, tokens = SIZE // m, GRID // m
    pixels, facts = views.draw(rng, n * m * m, side, crops, empty, whole, PLACES)
    pixels = pixels.reshape(n, m, m, side, side, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, SIZE, SIZE, 3)
    tile = np.arange(GRID) // tokens
    tiles = tile[:, None] * m + tile
    if m > 1:
        shift = rng.integers(0, GRID, 2)
        pixels = np.roll(pixels, shift * (SIZE // GRID), (1, 2))
        tiles = np.roll(tiles, shift, (0, 1))
    return pixels, facts, tiles.ravel()


def two_ways(model: CLIP, pixels: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, 1 + kept, D) after the last block and ``ln_post``, with and without the block's residual stream.

    Args:
        pixels: float32 (n, 3, 128, 128).
        kept: int64 (n, kept), the patches that are not dropped.
    """
    visual = model.visual
    x = visual._embeds(pixels)
    x = torch.cat([x[:, :1], x[:, 1:].gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))], 1)
    *first, last = visual.transformer.resblocks
    for block in first:
        x = block(x)
    a = last.ln_1(x)
    attended = last.attn(a, a, a, need_weights=False)[0]
    ways = (way + last.mlp(last.ln_2(way)) for way in (x + attended, attended))
    with_it, without = (visual.ln_post(way) for way in ways)
    return with_it, without


def update(
    model: CLIP,
    opts: list[torch.optim.Optimizer],
    tokenizer: SimpleTokenizer,
    views: Views,
    run: Stage,
    step: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """One step of the optimizers; returns the loss of the tiles with and without the residual stream."""
    for opt, peak in zip(opts, (run.adamw, run.muon), strict=True):
        for group in opt.param_groups:
            group["lr"] = peak * scheduled(run, step)
    model.train()
    device = model.logit_scale.device
    pixels, facts, tiles = mosaic(views, rng)
    named = np.flatnonzero((facts == PRESENT).any(0))
    tokens = tokenizer([sentence(rng, CONCEPTS[c]) for c in named]).to(device)
    kept = torch.from_numpy(rng.random((len(pixels), GRID * GRID)).argsort(1)[:, :KEPT]).to(device)
    kernels = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kernels), torch.autocast(device.type, torch.bfloat16):
        ways = two_ways(model, normalised(pixels, device), kept)
        text = model.encode_text(tokens, normalize=True).float()
    of_tile = F.one_hot(torch.from_numpy(tiles).to(device)[kept]).float()  # (n, kept, tiles)
    seen = (of_tile.sum(1) > 0).flatten().cpu()
    truth = torch.from_numpy(facts[:, named])

    def loss(tokens: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        features = F.normalize(tokens @ model.visual.proj, dim=-1)
        return loss_of(model.logit_scale.exp() * features @ text.T, facts.to(device))

    # the sum over a tile's patches replaces their mean, because features are normalised
    full, bare = (
        loss((of_tile.transpose(1, 2) @ way[:, 1:].float()).flatten(0, 1)[seen.to(device)], truth[seen]) for way in ways
    )
    total = 0.4 * full + 0.6 * bare
    if len(facts) == len(pixels):  # the class token represents the whole view
        total = 0.4 * loss(ways[0][:, 0].float(), truth) + 0.6 * total
    for opt in opts:
        opt.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, np.log(50))
    return full.item(), bare.item()


@torch.inference_mode()
def patch_map(model: CLIP, tokenizer: SimpleTokenizer, views: Views) -> float:
    """mAP of whole scenes by the mean of the patches."""
    model.eval()
    device = model.logit_scale.device
    texts = [template.format(name) for name in CLASSES for template in CAPTIONS]
    text = model.encode_text(tokenizer(texts).to(device), normalize=True).view(K, len(CAPTIONS), -1).mean(1)
    everything = torch.arange(GRID * GRID, device=device)
    cosines, present = [], np.zeros((len(views), K), bool)
    for i in range(len(views)):
        present[i, views.data["classes"][i, views.objects(i)]] = True
        pixels = normalised(views.pixels(i, views.whole(i), SIZE)[None], device)
        mean = two_ways(model, pixels, everything[None])[0][:, 1:].mean(1)
        cosines.append(F.normalize(mean @ model.visual.proj, dim=-1) @ F.normalize(text, dim=1).T)
    return average_precision(torch.cat(cosines).cpu().numpy(), present)


def train(
    train_views: Views, val: Views, out: Path, cycles: list[int], device: torch.device = CPU, minutes: float = 5.0
) -> None:
    """Run the remaining steps; writes a checkpoint and a line of the curve every ``minutes`` and after each cycle.

    Args:
        cycles: number of steps per cycle; the learning rates decay to 0 over a cycle and restart.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = SimpleTokenizer(bpe_path=str(BUNDLED), context_length=CONTEXT)
    last, steps = out / "last.pt", sum(cycles)
    state: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=True) if last.exists() else {}
    model = build(SIZE, tokenizer)
    model.load_state_dict(state["model"] if state else load_file(BUNDLED.parent / "clip.safetensors"))
    model, rng = model.to(device), np.random.default_rng((6, 0))
    opts = optimizers(model, stage(steps))
    if state:
        rng.bit_generator.state = state["rng"]
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
    spent, begun, since = state.get("core_minutes", 0.0), time.process_time(), time.monotonic()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # holds for the CPU too
    losses: list[tuple[float, float]] = []
    ends = [0, *np.cumsum(cycles).tolist()]
    for step in range(state.get("step", 0), steps):
        done = max(end for end in ends if end <= step)
        cycle = cycles[ends.index(done)]
        losses.append(update(model, opts, tokenizer, train_views, stage(cycle), step - done, rng))
        if step + 1 not in ends and time.monotonic() - since < minutes * 60:
            continue
        accuracy, mean_ap = evaluate(model, tokenizer, val)
        full, bare = np.mean(losses, 0)
        row = {
            "step": step + 1,
            "core_minutes": round(spent + (time.process_time() - begun) / 60, 2),
            "loss": round(float(full), 4),
            "loss_without_residual": round(float(bare), 4),
            "crop_accuracy": round(accuracy, 4),
            "map": round(mean_ap, 4),
            "patch_map": round(patch_map(model, tokenizer, val), 4),
        }
        state = {
            "stage": 2,  # the stage of train_clip with the same image size
            "step": step + 1,
            "model": model.state_dict(),
            "optimizers": [opt.state_dict() for opt in opts],
            "rng": rng.bit_generator.state,
            "core_minutes": row["core_minutes"],
        }
        save(last, state)
        note(out / "curve.csv", row)
        losses, since = [], time.monotonic()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("runs/world"), help="folder of world.py's arrays")
    parser.add_argument("--out", type=Path, default=Path("runs/clip_regions"), help="checkpoint and curve")
    parser.add_argument("--images", type=int, default=40000, help="training scenes")
    parser.add_argument("--cycles", type=int, nargs="+", default=CYCLES, help="steps of each learning-rate cycle")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes between checkpoints")
    parser.add_argument("--export", type=Path, help="only write the last checkpoint of --out to this folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.export:
        export(args.out / "last.pt", args.export.resolve())
        raise SystemExit
    scenes, val = (Views(arrays(split, n, args.world)) for split, n in (("train", args.images), ("val", 500)))
    train(scenes, val, args.out, args.cycles, torch.device(args.device), args.minutes)
