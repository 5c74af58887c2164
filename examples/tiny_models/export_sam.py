"""Export a checkpoint of train_sam.py in the bundled format: configuration and half-precision tensors.

python export_sam.py --checkpoint runs/sam/checkpoint.pt --out ../../wsss_seed/models/tiny
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from train_sam import CONFIG


def export(checkpoint: Path, out: Path) -> None:
    """Write ``sam.json`` and ``sam.safetensors`` (float16) to the folder ``out``."""
    weights = torch.load(checkpoint, weights_only=True)["model"]
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: w.half().contiguous() for name, w in weights.items()}, out / "sam.safetensors")
    (out / "sam.safetensors").chmod(0o644)  # safetensors creates files that only the owner can read
    (out / "sam.json").write_text(json.dumps(CONFIG, indent=2) + "\n", "utf-8")
    print(f"{out / 'sam.safetensors'}: {(out / 'sam.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/sam/checkpoint.pt"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    export(args.checkpoint, args.out)
