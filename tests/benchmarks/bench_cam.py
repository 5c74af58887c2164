"""What class activation maps cost, as ratios measured in one run on the same weights and images.

    python tests/benchmarks/bench_cam.py [--model ViT-B-16] [--size 224] [--classes 4] [--repeats 5] [--device cpu]

``plain``: one forward of open_clip's image tower (at another size than its own, of the same blocks with resampled
positions). ``maps``: the tower and the maps of all classes present. ``loop``: for each class one forward of the whole
tower and one backward, no further than the last block. They take turns, and the fastest of all repeats counts, on a
CPU in seconds of its time, so that other processes disturb little. Weights are random: they do not matter for time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import open_clip
import torch
from torch.nn import functional as F

from wsss_seed.models.clip import Clip
from wsss_seed.seeding.clip_sams.cam import class_logits, masked_softmax, softmax_gradcam


def random_clip(model: str, device: str) -> Clip:
    """A model of open_clip with random weights."""
    torch.manual_seed(0)
    return Clip(open_clip.create_model(model), open_clip.get_tokenizer(model), name=model, device=device)


def measure(clip: Clip, size: int, classes: int, repeats: int) -> dict[str, float]:
    """Seconds of each and the two ratios."""
    torch.manual_seed(0)
    visual, device = clip.model.visual, clip.device
    pixels = torch.randn(1, 3, size, size, device=device)
    text = F.normalize(torch.randn(45, visual.proj.shape[1], device=device), dim=-1)
    labels = torch.zeros(1, 20, dtype=torch.bool, device=device)
    labels[0, :classes] = True
    scale = 10.0

    @torch.no_grad()
    def plain() -> None:
        if tuple(visual.image_size) == (size, size):
            visual(pixels)
        else:
            clip.last_block(clip.encode_tokens(pixels))

    def maps() -> torch.Tensor:
        return softmax_gradcam(clip, clip.encode_tokens(pixels), text, labels, scale=scale)

    def loop() -> torch.Tensor:
        found = []
        for c in range(classes):
            tower = clip.encode_tokens(pixels)
            last = visual.transformer.resblocks[-1]
            a = last.ln_1(tower.tokens).requires_grad_()
            x = tower.tokens + last.attention(a)
            x = x + last.mlp(last.ln_2(x))
            feature = F.normalize(visual.ln_post(x)[:, 1:].mean(1) @ visual.proj, dim=-1)
            probability = masked_softmax(class_logits(feature, text, scale), labels)[0, c]
            (gradient,) = torch.autograd.grad(probability, a)
            found.append((a.detach()[0, 1:] @ gradient[0, 1:].mean(0)).view(tower.grid))
        return torch.stack(found)

    runs: dict[str, Callable[[], object]] = {"plain": plain, "maps": maps, "loop": loop}
    expected = loop()
    torch.testing.assert_close(maps(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            start = _seconds(device)
            run()
            best[name] = min(best[name], _seconds(device) - start)
    return {**best, "maps_per_plain": best["maps"] / best["plain"], "loop_per_maps": best["loop"] / best["maps"]}


def _seconds(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of class activation maps")
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    clip = random_clip(options.model, options.device)
    result = measure(clip, options.size, options.classes, options.repeats)
    print(json.dumps({k: round(v, 4) for k, v in result.items()}))


if __name__ == "__main__":
    main()
