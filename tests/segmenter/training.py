"""Training within this process, with a very small network on toyland."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_seed.data import open_dataset
from wsss_seed.errors import WsssError
from wsss_seed.segmenter.checkpoint import read
from wsss_seed.segmenter.settings import load_recipe
from wsss_seed.segmenter.train import TrainResult, train_segmenter

QUICK = {
    "network.encoder": "tu-test_resnet",
    "network.decoder_channels": 16,
    "augment.crop_size": 64,
    "train.batch_size": 4,
}


def train(tree: Path, out: Path, iterations: int, *, val=None, overwrite=False, workers=0, **settings) -> TrainResult:
    values = {**QUICK, "train.max_iters": iterations, **{k.replace("__", "."): v for k, v in settings.items()}}
    data = open_dataset("voc", tree, "train", None, "none")
    return train_segmenter(
        data, out, load_recipe("tiny", values), val=val, device="cpu", workers=workers, overwrite=overwrite
    )


def refused(*args, **kwargs) -> str:
    with pytest.raises(WsssError) as error:
        train(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read(path)["weights"]


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def damaged(tree: Path, folder: Path, change) -> Path:
    shutil.copytree(tree, folder)
    path = folder / "SegmentationClass" / "train_000003.png"
    with Image.open(path) as mask:
        palette, labels = mask.getpalette(), np.array(mask)
    image = Image.fromarray(change(labels))
    image.putpalette(palette)
    image.save(path)
    return folder


def run_folder(tree: Path, folder: Path) -> Path:
    """A run folder with a mask and its confidence for each image of the tree's train split."""
    shutil.copytree(tree, folder)
    (folder / "Confidence").mkdir()
    for path in (folder / "SegmentationClass").glob("train_*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size, 128).save(folder / "Confidence" / path.name)
    return folder
