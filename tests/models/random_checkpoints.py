"""Checkpoints of full size with random weights, in the formats of their publishers, placed in a cache."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import open_clip
import torch
from segment_anything import sam_model_registry

from wsss_seed.models.checkpoints import Checkpoint
from wsss_seed.models.grounding_dino import build_grounding_dino, build_tokenizer
from wsss_seed.models.zoo import TINY

BERT_WORDS = 30_522


def place(checkpoint: Checkpoint, home: Path, seen: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """Write the files of a checkpoint where the cache would have them, and an entry of its name with their hashes.

    Gives its weights. Without the entry they would be refused, for their hashes are not the published ones.

    Args:
        checkpoint: what to write.
        home: the cache.
        seen: data sets of which the entry says that the model saw annotations.
    """
    torch.manual_seed(0)
    paths = [home / checkpoint.role / f.name for f in checkpoint.files]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    weights = {"clip": _clip, "sam": _sam, "detector": _detector}[checkpoint.role](checkpoint.config, paths[0])
    table = f'[{checkpoint.role}."{checkpoint.name}"]\nconfig = "{checkpoint.config}"\n'
    table += f"seen = {list(seen)}\n"
    for file, path in zip(checkpoint.files, paths, strict=True):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        table += f'[[{checkpoint.role}."{checkpoint.name}".files]]\nname = "{file.name}"\nurls = {list(file.urls)}\n'
        table += f'size = {path.stat().st_size}\nsha256 = "{digest}"\n'
    with (home / "checkpoints.toml").open("a") as entries:
        entries.write(table)
    return weights


def _clip(config: str, path: Path) -> dict[str, torch.Tensor]:
    """OpenAI's: a TorchScript archive, mostly in half precision."""
    model = open_clip.create_model(config)
    open_clip.convert_weights_to_fp16(model)
    weights = model.state_dict()
    save_archive(weights, path)
    return weights


def save_archive(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Weights as OpenAI publishes CLIP: a TorchScript archive with three numbers among them."""
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    tree = torch.nn.Module()
    for name, value in {**weights, **{k: torch.tensor(v) for k, v in numbers.items()}}.items():
        *folders, leaf = name.split(".")
        module = tree
        for folder in folders:
            if folder not in module._modules:
                module.add_module(folder, torch.nn.Module())
            module = module._modules[folder]
        module.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(tree), path)


def _sam(config: str, path: Path) -> dict[str, torch.Tensor]:
    """Meta's: a state dict."""
    weights = sam_model_registry[config](checkpoint=None).state_dict()
    torch.save(weights, path)
    return weights


def _detector(config: str, path: Path) -> dict[str, torch.Tensor]:
    """IDEA's: a state dict under ``model``, each name beginning with ``module.``; and BERT's vocabulary beside it."""
    words = (TINY / "vocab.txt").read_text("utf-8").splitlines()
    words += [f"[unused{i}]" for i in range(BERT_WORDS - len(words))]
    (path.parent / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    about = json.loads((Path(str(files("wsss_seed.models"))) / "configs" / f"{config}.json").read_text("utf-8"))
    weights = build_grounding_dino(about, build_tokenizer(words)).state_dict()
    torch.save({"model": {f"module.{k}": v for k, v in weights.items()}}, path)
    return weights
