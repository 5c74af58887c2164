"""The contact sheet: what is where, in which colour, and what cannot be shown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.output.odd_run import NAMES, label_maps, write_run
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.output.run_folder import RunFolder, mask_path
from wsss_seed.output.sheet import sheet
from wsss_seed.types import Seed

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255), *voc_palette()[3:])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Ten white images of 100 x 60 pixels; the left half of their masks is red, image 3 has a blue quarter as well."""
    classes = ClassSet("two", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), (), COLOURS)
    with RunFolder(tmp_path / "plain", classes, {"dataset": {"name": "folder", "split": "all"}}) as run:
        for i in range(10):
            labels = np.zeros((60, 100), np.uint8)
            labels[:, :50] = 1
            if i == 3:
                labels[:30, 50:] = 2
            image = np.full((60, 100, 3), 255, np.uint8)
            run.save(Sample(f"{i}"), image, Seed(labels, np.full((60, 100), i / 10, np.float32), (0,)), 0.1)
        run.finalize([f"{i}" for i in range(10)])
    return tmp_path / "plain"


def areas(path: Path, colour: tuple[int, int, int]) -> int:
    with Image.open(path) as picture:
        return int((np.asarray(picture.convert("RGB")) == colour).all(-1).sum())


RED, BLUE = (255, 89, 89), (89, 89, 255)
"""65 % of the colour over white."""


def test_each_image_has_its_mask_and_confidence(plain):
    result = sheet(plain, sample=10)
    assert result.out == plain / "sheet.png"
    assert result.shown == tuple(map(str, range(10)))
    assert result.names == ("cat", "dog")
    assert (result.failed, result.gaps, result.exit_status) == ((), "", 0)
    # A pixel of each cell's outline lies beside the cell, so that all of the mask is there.
    assert areas(result.out, RED) == 10 * 50 * 60
    assert areas(result.out, BLUE) == 50 * 30
    for i in range(1, 10):
        if i not in (2, 7):  # the swatches and letters have greys of their own
            assert areas(result.out, (round(i * 25.5),) * 3) >= 100 * 60, i
    assert areas(result.out, COLOURS[1]) == 11 * 11  # the swatch within its outline
    before = result.out.read_bytes()
    assert sheet(plain, sample=10).out.read_bytes() == before


def test_limit_and_sample(plain, tmp_path):
    assert sheet(plain, tmp_path / "a.png", limit=2).shown == ("0", "1")
    first, other = (sheet(plain, tmp_path / "a.png", sample=4, seed=seed).shown for seed in (0, 1))
    assert first != other
    assert sheet(plain, tmp_path / "b.png", limit=3).names == ("cat",)
    with pytest.raises(UsageError, match="give one of them"):
        sheet(plain, limit=1, sample=1)
    with pytest.raises(UsageError, match="at most 400"):
        sheet(plain, sample=401)


def test_ground_truth_has_a_row_of_its_own(plain, tmp_path):
    for i in range(10):
        labels = np.full((60, 100), 2, np.uint8)
        labels[:, 50:] = 255
        (tmp_path / "truth").mkdir(exist_ok=True)
        Image.fromarray(labels).save(tmp_path / "truth" / f"{i}.png")
    without, result = sheet(plain, limit=2), sheet(plain, tmp_path / "a.png", limit=2, truth=tmp_path / "truth")
    assert result.names == ("cat", "dog")
    assert areas(result.out, BLUE) == 2 * 50 * 60
    with Image.open(without.out) as small, Image.open(result.out) as large:
        assert large.height == small.height + 60 + 8


def test_strange_names_and_sizes_fit(tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "photos")
    result = sheet(run, sample=50)
    assert len(result.shown) == len(label_maps())
    assert result.names == NAMES
    assert "1 failed" in result.gaps


def test_what_cannot_be_read_is_named(plain, tmp_path):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(mask_path(plain, "1", "flat"))
    result = sheet(plain, tmp_path / "a.png")
    assert len(result.shown) == 9
    assert result.exit_status == 1
    assert "1: mask of 5 x 5 but 100 x 60 pixels" in result.failed[0][1]
    for i in range(10):
        mask_path(plain, f"{i}", "flat").write_bytes(b"no image")
    with pytest.raises(RunFolderError, match="none of 10 images can be shown"):
        sheet(plain, tmp_path / "a.png")


def test_where_it_is_written(plain, tmp_path):
    for name in ("sheet.jpg", "sheet"):
        with pytest.raises(UsageError, match=r"ends in \.png"):
            sheet(plain, tmp_path / name)
    with pytest.raises(RunFolderError, match="cannot be written"):
        sheet(plain, plain / "run.json" / "sheet.png")
    with pytest.raises(RunFolderError, match="not a run folder"):
        sheet(tmp_path)
