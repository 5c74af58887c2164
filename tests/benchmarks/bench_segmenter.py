"""What the memory layout of segmenters is worth: a step of training, as the library makes the network and as we do.

    python tests/benchmarks/bench_segmenter.py [--recipe tiny] [--batch 16] [--repeats 8] [--device cpu]

``plain``: segmentation_models_pytorch's or transformers' network with channels first, as it is made. ``ours``: the same
weights with the channels innermost. Forward and backward of one batch of crops, in turns; the fastest of all repeats
counts, on a CPU in seconds of its time, so that other processes disturb little.
"""

from __future__ import annotations

import argparse
import copy
import json
import time

import torch

from wsss_seed.segmenter.settings import load_recipe
from wsss_seed.segmenter.trainer import first_network


def measure(recipe: str, batch: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of each and their ratio."""
    chosen = load_recipe(recipe)
    ours = first_network(chosen, "none", 13, 0).to(device).train()
    plain = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    torch.manual_seed(0)
    side = chosen.settings.augment.crop_size
    pixels = torch.randn(batch, 3, side, side, device=device)
    labels = torch.randint(0, 13, (batch, side, side), device=device)
    runs = {"plain": (plain, pixels), "ours": (ours, pixels.contiguous(memory_format=torch.channels_last))}
    best, loss = dict.fromkeys(runs, float("inf")), {}
    for _ in range(repeats):
        for name, (network, seen) in runs.items():
            start = _seconds(device)
            value = sum(network.loss(seen, labels, None).values())
            value.backward()
            best[name] = min(best[name], _seconds(device) - start)
            loss[name] = value.detach()
            network.zero_grad()
    torch.testing.assert_close(loss["plain"], loss["ours"], rtol=1e-3, atol=1e-3)
    return {**best, "plain_per_ours": best["plain"] / best["ours"]}


def _seconds(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(args.recipe, args.batch, args.repeats, torch.device(args.device)), indent=2))


if __name__ == "__main__":
    main()
