"""Label maps are checked before training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.segmenter.training import damaged, refused, run_folder, train
from wsss_seed.data import open_dataset
from wsss_seed.errors import DataError, ImageError
from wsss_seed.segmenter.masks import check_masks


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


def test_what_is_trained_on_is_known_by_its_content(tree):
    data = open_dataset("voc", tree, "train", None, "none")
    steps: list[int] = []
    found = check_masks(data, step=lambda: steps.append(1))
    assert len(steps) == len(found.data.samples) == len(data)
    pixels = sum(np.bincount(data.mask(s).ravel(), minlength=13)[:13] for s in data)
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.empty == ()
    assert check_masks(data).digest == found.digest
    other = open_dataset("voc", tree, "val", None, "none")
    assert check_masks(other).digest != found.digest
    sample = found.data.samples[0]
    np.testing.assert_array_equal(found.data.labels(sample), data.mask(sample))
    assert found.data.confidence is None


def test_confidence_is_part_of_the_content(tree, tmp_path):
    run = open_dataset("voc", run_folder(tree, tmp_path / "run"), "train", None, "none")
    plain, weighed = check_masks(run), check_masks(run, confidence=True)
    assert plain.digest == check_masks(open_dataset("voc", tree, "train", None, "none")).digest != weighed.digest
    assert (weighed.data.confidence(run[0]) == 128).all()
    path = tmp_path / "run" / "Confidence" / f"{run[0].id}.png"
    Image.new("L", (3, 3), 128).save(path)
    with pytest.raises(ImageError, match="its confidence map differs in size"):
        check_masks(run, confidence=True)


def test_images_without_masks_and_datasets_without_confidence_are_refused(tree):
    with pytest.raises(DataError, match=r"no folder Confidence, which train\.confidence_weighting needs"):
        check_masks(open_dataset("toyland", images=2), confidence=True)
    drawn = check_masks(open_dataset("toyland", images=2))  # toyland has masks, if no files
    assert len(drawn.data.samples) == 2
