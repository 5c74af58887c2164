"""Training within this process: what it makes of settings, masks and folders, with a very small network on toyland."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.segmenter.training import QUICK, damaged, refused, train
from wsss_seed.data import open_dataset
from wsss_seed.errors import UsageError
from wsss_seed.segmenter.settings import load_recipe
from wsss_seed.segmenter.train import score_file, train_segmenter


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


def test_ground_truth_of_another_class_set_is_refused(tree, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tree, other)
    (other / "class_names.txt").write_text("cat\ndog\n")
    line = refused(tree, tmp_path / "out", 2, val=open_dataset("voc", other, "val", None, "none"))
    assert "2 of 'class_names'" in line
    assert "12 of 'toyland'" in line
