"""From images to a trained segmenter: mIoU on toyland's val split, compared with full supervision.

    python end_to_end.py [--out end_to_end] [--train 1500] [--val 200] [--rows label-free ...] [--seeds 0 1 2]

Seeds toyland's train split with each backend, trains a segmenter on the seeds and on ground truth (100 %), predicts the
val split and computes the mIoU. Results are averaged over random seeds. Each step is a command that is printed before
it runs; rerunning the script skips finished steps. The last checkpoint is used, so none is selected on the val split.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

TRUTH = "ground truth"
ROWS = {
    "dino-sam, label-free": ["--backend", "dino-sam", "--labels", "none"],
    "dino-sam, image labels": ["--backend", "dino-sam"],
    "clip-sams, image labels": ["--backend", "clip-sams"],
}


def wsss_seed(*arguments: object) -> dict[str, Any]:
    """Run a command and return its JSON output."""
    words = [str(a) for a in arguments]
    print("$ wsss-seed", shlex.join(words), file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "wsss_seed", *words, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):  # 1: some images failed, the others are complete
        sys.exit(done.returncode)
    return dict(json.loads(done.stdout))


def draw(world: Path, split: str, images: int, seed: int) -> None:
    """Draw images and ground truth in VOC layout, unless they exist."""
    if not (world / "ImageSets" / "Segmentation" / f"{split}.txt").exists():
        from wsss_seed.data.toyland.tree import write_tree

        write_tree(world, split, images, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("end_to_end"), help="output folder")
    parser.add_argument("--train", type=int, default=1500, help="images to train on")
    parser.add_argument("--val", type=int, default=200, help="images to evaluate on")
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names; default: all rows")
    parser.add_argument("--prompts", help="prompts of clip-sams, a folder of learn-prompts; default: bundled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="random seeds of training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of train-seg")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    world = args.out / "toyland"
    draw(world, "train", args.train, 0)
    train, val = (
        ["--dataset", "toyland", "--split", s, "--images", n] for s, n in (("train", args.train), ("val", args.val))
    )
    chosen = {name: how for name, how in ROWS.items() if not args.rows or any(part in name for part in args.rows)}

    figures: dict[str, dict[str, Any]] = {}
    for name in (TRUTH, *chosen):
        folder = args.out / name.replace(", ", "-").replace(" ", "-")
        quality, masks = 1.0, world
        if name != TRUTH:
            how = [*chosen[name], *(["--prompts", args.prompts] if args.prompts and "clip-sams" in name else [])]
            quality = wsss_seed("generate", *train, *how, "--out", folder / "seeds")["evaluation"]["miou"]
            masks = folder / "seeds"
        settings = [word for pair in args.set for word in ("--set", pair)]
        found = []
        for seed in args.seeds:
            out, said = folder / f"segmenter-{seed}", folder / f"val-{seed}"
            wsss_seed("train-seg", masks, "--split", "train", "--seed", seed, *settings, "--out", out)
            wsss_seed("predict", out / "last.pt", *val, "--out", said)
            found.append(wsss_seed("evaluate", "--pred", said, *val)["miou"])
        figures[name] = {"seeds": quality, "val": found}

    whole = mean(figures[TRUTH]["val"])
    print(f"mIoU in % on {args.val} val images, trained on {args.train} train images\n")
    print(
        "| trained on | mIoU of the masks | mIoU of the segmenter | of fully supervised |\n| --- | ---: | ---: | ---: |"
    )
    for name, row in figures.items():
        low, high, middle = (f"{100 * value:.1f}" for value in (min(row["val"]), max(row["val"]), mean(row["val"])))
        scatter = f" ({low} to {high})" if len(args.seeds) > 1 else ""
        print(f"| {name} | {100 * row['seeds']:.1f} | {middle}{scatter} | {100 * mean(row['val']) / whole:.1f} % |")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
