"""Training within this process: what it makes of settings, masks and folders, with a very small network on toyland."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from tests.rounding import ROUNDING
from wsss_seed.data import open_dataset
from wsss_seed.data.toyland.tree import write_tree
from wsss_seed.errors import UsageError, WsssError
from wsss_seed.segmenter.checkpoint import load_segmenter, read
from wsss_seed.segmenter.settings import load_recipe
from wsss_seed.segmenter.train import TrainResult, score_file, train_segmenter

QUICK = {
    "network.encoder": "tu-test_resnet",
    "network.decoder_channels": 16,
    "augment.crop_size": 64,
    "train.batch_size": 4,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toyland") / "tree"
    write_tree(folder, "train", 12, 0)
    write_tree(folder, "val", 4, 0)
    return folder


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


def test_the_recorded_miou_is_that_of_the_checkpoint(tree, tmp_path):
    val = open_dataset("voc", tree, "val", None, "none")
    result = train(tree, tmp_path / "out", 8, val=val, train__eval_interval=3)
    assert result.best is not None
    assert score_file(result.best, val).miou == pytest.approx(result.best_miou)
    last = score_file(result.last, val)
    assert last.miou == pytest.approx(result.miou)
    assert last.images == 4
    assert next(iter(last.per_class_iou)) == "background"


def test_an_unsupported_device_is_refused_rather_than_replaced_by_the_cpu(tree, tmp_path):
    data = open_dataset("voc", tree, "train", None, "none")
    with pytest.raises(UsageError, match="`device` mps: only cpu and cuda are supported"):
        train_segmenter(data, tmp_path / "out", load_recipe("tiny", QUICK), device="mps")


def test_loss_falls_on_few_images(tree, tmp_path):
    train(tree, tmp_path / "out", 60, optimizer__lr=5e-3, optimizer__warmup_iters=0, train__ema_decay=0.0)
    lines = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert lines[0] == "iteration,lr,loss,miou"
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_accumulated_parts_make_one_step(tree, tmp_path):
    steps: list[object] = []
    hook = register_optimizer_step_post_hook(lambda *args: steps.append(args[0]))
    try:
        train(tree, tmp_path / "out", 3, train__gradient_accumulation_steps=2)
    finally:
        hook.remove()
    assert len(steps) == 3
    assert len((tmp_path / "out" / "metrics.csv").read_text().splitlines()) == 4
    assert "`train.batch_size`=3" in refused(tree, tmp_path / "odd", 3, train__gradient_accumulation_steps=3)
    assert "batch normalisation" in refused(tree, tmp_path / "single", 3, train__gradient_accumulation_steps=4)


def run_folder(tree: Path, folder: Path) -> Path:
    """A run folder with a mask and its confidence for each image of the tree's train split."""
    shutil.copytree(tree, folder)
    (folder / "Confidence").mkdir()
    for path in (folder / "SegmentationClass").glob("train_*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size, 128).save(folder / "Confidence" / path.name)
    return folder


def test_the_confidence_of_seeds_weighs_their_pixels(tree, tmp_path):
    run = run_folder(tree, tmp_path / "run")
    train(run, tmp_path / "even", 3, train__confidence_weighting=True)
    train(run, tmp_path / "plain", 3)
    # The same weight everywhere is no weight, but for rounding, which the optimizer enlarges where gradients vanish.
    one, two = weights(tmp_path / "even" / "last.pt"), weights(tmp_path / "plain" / "last.pt")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=10 * ROUNDING, atol=ROUNDING)
    for path in (run / "Confidence").glob("*.png"):
        with Image.open(path) as file:
            values = np.array(file)
        values[:, : values.shape[1] // 2] = 0
        Image.fromarray(values).save(path)
    train(run, tmp_path / "half", 3, train__confidence_weighting=True)
    assert not same(tmp_path / "half" / "last.pt", tmp_path / "even" / "last.pt")
    assert "no folder Confidence" in refused(tree, tmp_path / "none", 3, train__confidence_weighting=True)


def damaged(tree: Path, folder: Path, change) -> Path:
    shutil.copytree(tree, folder)
    path = folder / "SegmentationClass" / "train_000003.png"
    with Image.open(path) as mask:
        palette, labels = mask.getpalette(), np.array(mask)
    image = Image.fromarray(change(labels))
    image.putpalette(palette)
    image.save(path)
    return folder


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda labels: labels[:, :-1].copy(), ["train_000003.png", "pixels, but its image has"]),
        (
            lambda labels: np.where(labels > 0, 13, labels).astype(np.uint8),
            ["train_000003.png", "label 13", "12 classes"],
        ),
    ],
)
def test_masks_that_do_not_fit_are_named_before_training(tree, tmp_path, change, parts):
    line = refused(damaged(tree, tmp_path / "tree", change), tmp_path / "out", 3)
    assert all(part in line for part in parts), line
    assert not (tmp_path / "out" / "last.pt").exists()


def test_masks_of_255_are_left_out_and_nothing_but_them_is_refused(tree, tmp_path):
    folder = damaged(tree, tmp_path / "tree", lambda labels: np.full_like(labels, 255))
    assert train(folder, tmp_path / "out", 2).empty == ("train_000003",)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("train_000003\n")
    assert "no mask has a labelled pixel" in refused(folder, tmp_path / "other", 2)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("")
    assert "train.txt" in refused(folder, tmp_path / "other", 2)


def test_a_damaged_checkpoint_is_refused_and_kept(tree, tmp_path):
    train(tree, tmp_path / "out", 2)
    path = tmp_path / "out" / "last.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    before = path.read_bytes()
    assert "last.pt" in refused(tree, tmp_path / "out", 2)
    assert path.read_bytes() == before
    train(tree, tmp_path / "out", 2, overwrite=True)
    load_segmenter(path)
    content = torch.load(path, weights_only=True)
    for key in ("about", "iteration", "best", "curve"):
        torch.save({**content, "training": {**content["training"], key: [None]}}, path)
        assert "last.pt: damaged checkpoint; give another `out`" in refused(tree, tmp_path / "out", 2)


def test_a_folder_of_something_else_is_left_alone(tree, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("important")
    assert "choose another `out`" in refused(tree, tmp_path / "foreign", 2, overwrite=True)
    assert (tmp_path / "foreign" / "thesis.txt").read_text() == "important"
    assert "not a folder" in refused(tree, tmp_path / "foreign" / "thesis.txt", 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_left_out_until_none_is_left(tree, tmp_path, workers, caplog):
    folder = tmp_path / "tree"
    shutil.copytree(tree, folder)
    images = sorted((folder / "JPEGImages").glob("train_*.jpg"))
    for path in images[1:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = train(folder, tmp_path / "out", 2, workers=workers)
    assert result.iterations == 2
    images[0].write_bytes(images[0].read_bytes()[: images[0].stat().st_size // 2])
    assert refused(folder, tmp_path / "none", 2, workers=workers).startswith("none of the images can be read")


def test_other_masks_in_the_same_folder_are_another_training(tree, tmp_path):
    train(tree, tmp_path / "out", 2)
    other = damaged(tree, tmp_path / "tree", lambda labels: np.where(labels > 0, 1, labels).astype(np.uint8))
    assert "masks " in refused(other, tmp_path / "out", 2)


def test_the_segmenter_without_its_training_cannot_go_on(tree, tmp_path):
    train(tree, tmp_path / "out", 2)
    content = read(tmp_path / "out" / "last.pt")
    del content["training"]
    torch.save(content, tmp_path / "out" / "last.pt")
    assert "cannot resume" in refused(tree, tmp_path / "out", 2)


def test_ground_truth_of_another_class_set_is_refused(tree, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tree, other)
    (other / "class_names.txt").write_text("cat\ndog\n")
    line = refused(tree, tmp_path / "out", 2, val=open_dataset("voc", other, "val", None, "none"))
    assert "2 of 'class_names'" in line
    assert "12 of 'toyland'" in line
