"""What class activation maps cost, as ratios measured in one run on the same weights and images.

    python tests/benchmarks/bench_cam.py [--model ViT-B-16] [--size 320] [--classes 4] [--repeats 5] [--device cpu]

``plain``: one forward of the image tower up to its features. ``maps``: the tower, then all maps of the classes present.
``loop``: for each class one forward of the whole tower with gradient and one backward, as CLIP-ES does. The three take
turns, and the fastest of all repeats counts. Weights are random: they do not matter for time.
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
from wsss_seed.seeding.cam import class_logits, masked_softmax, softmax_gradcam


def random_clip(model: str, device: str) -> Clip:
    """A model of open_clip with random weights."""
    torch.manual_seed(0)
    return Clip(open_clip.create_model(model), open_clip.get_tokenizer(model), name=model, device=device)


def measure(clip: Clip, size: int, classes: int, repeats: int) -> dict[str, float]:
    """Seconds of each and the two ratios."""
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, size, size, device=clip.device)
    width = clip.model.visual.proj.shape[1]
    text = F.normalize(torch.randn(45, width, device=clip.device), dim=-1)
    labels = torch.zeros(1, 20, dtype=torch.bool, device=clip.device)
    labels[0, :classes] = True

    def plain() -> None:
        with torch.no_grad():
            clip.last_block(clip.encode_tokens(pixels))

    def maps() -> torch.Tensor:
        return softmax_gradcam(clip, clip.encode_tokens(pixels), text, labels, scale=10.0)

    def loop() -> torch.Tensor:
        visual = clip.model.visual
        found = []
        for c in range(classes):
            leaf = pixels.clone().requires_grad_()  # as a tower whose weights take gradients, it is passed backward too
            kept = {}

            def keep(_module: object, _inputs: object, output: torch.Tensor, kept: dict = kept) -> None:
                kept["activations"] = output

            hook = visual.transformer.resblocks[-1].ln_1.register_forward_hook(keep)
            patches = visual.conv1(leaf).flatten(2).transpose(1, 2)
            first = visual.class_embedding.expand(1, 1, -1)
            grid = (size // clip.patch_size,) * 2
            x = visual.ln_pre(torch.cat([first, patches], 1) + clip._image_tower.positions(grid))
            x = visual.ln_post(visual.transformer(x))
            hook.remove()
            feature = F.normalize(x[:, 1:].mean(1) @ visual.proj, dim=-1)
            probability = masked_softmax(class_logits(feature, text, 10.0), labels)[0, c]
            gradient = torch.autograd.grad(probability, [kept["activations"], leaf])[0][0, 1:]
            found.append((kept["activations"].detach()[0, 1:] * gradient.mean(0)).sum(-1).view(grid))
        return torch.stack(found)

    runs: dict[str, Callable[[], object]] = {"plain": plain, "maps": maps, "loop": loop}
    torch.testing.assert_close(maps(), loop(), rtol=1e-3, atol=1e-4 * float(loop().abs().max()))
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            _wait(clip.device)
            start = time.perf_counter()
            run()
            _wait(clip.device)
            best[name] = min(best[name], time.perf_counter() - start)
    return {**best, "maps_per_plain": best["maps"] / best["plain"], "loop_per_maps": best["loop"] / best["maps"]}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    clip = random_clip(options.model, options.device)
    result = measure(clip, options.size, options.classes, options.repeats)
    print(json.dumps({k: round(v, 4) for k, v in result.items()}))


if __name__ == "__main__":
    main()
