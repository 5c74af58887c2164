"""From photographs to a trained segmenter, and what weak supervision costs: mIoU on toyland's val split.

    python end_to_end.py [--out end_to_end] [--train 1500] [--val 200] [--rows label-free ...] [--seeds 0 1 2]

Seeds of toyland's train split by each backend, a segmenter trained on each, its label maps of the val split, and their
mIoU; beside it the same network trained on ground truth, which is 100 %. Trainings with several random seeds are
averaged. Each step is a command that is printed before it runs; the same command again skips what is finished. No
checkpoint is chosen by looking at the val split: the last one is taken.
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
    """Run a command and return what it says as JSON."""
    words = [str(a) for a in arguments]
    print("$ wsss-seed", shlex.join(words), file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "wsss_seed", *words, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):  # 1: some images failed; the rest is there
        sys.exit(done.returncode)
    return dict(json.loads(done.stdout))


def draw(world: Path, split: str, images: int, seed: int) -> None:
    """Ground truth as a VOC tree."""
    if not (world / "ImageSets" / "Segmentation" / f"{split}.txt").exists():
        from wsss_seed.data.toyland.tree import write_tree

        write_tree(world, split, images, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("end_to_end"), help="everything is written there")
    parser.add_argument("--train", type=int, default=1500, help="images to train on")
    parser.add_argument("--val", type=int, default=200, help="images to evaluate on")
    parser.add_argument("--rows", nargs="*", default=[], help="parts of names of rows; all without it")
    parser.add_argument("--prompts", help="of clip-sams; a folder of learn-prompts. Default: the bundled ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="random seeds of training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of train-seg")
    parser.add_argument("--json", type=Path, help="write the figures there")
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
    print(f"mIoU in % after {args.train} images of train, on {args.val} images of val\n")
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
