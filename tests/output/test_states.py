"""What a resumed run takes for finished."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.data.voc_layout import Layout, layout_of
from wsss_seed.errors import RunFolderError
from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import Manifest, manifest_files
from wsss_seed.output.run_folder import RunFolder, confidence_path, image_path, mask_path
from wsss_seed.output.states import State, states_of
from wsss_seed.types import Seed

CATS = ClassSet("cats", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())
SEED = Seed(np.array([[0, 1], [1, 255]], np.uint8), np.ones((2, 2), np.float32), (0,), {0: np.float32(0.9)})
IDS = ("a", "b/c", "d")


@pytest.fixture(params=["flat", "nested"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for id in IDS:
        path = tmp_path / f"photos/{id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
        found.append(Sample(id, path, (0,)))
    return found


@pytest.fixture
def run(tmp_path: Path, samples: list[Sample], layout: Layout) -> Path:
    with RunFolder(tmp_path / "run", CATS, {"a": 1}, layout=layout) as folder:
        for sample in samples:
            assert sample.image is not None
            folder.save(sample, np.zeros((2, 2, 3), np.uint8), SEED, 0.1, Stamp.of(sample.image))
        folder.finalize(IDS)
    return tmp_path / "run"


def states(run: Path, samples: list[Sample], since: float = 0.0) -> list[State]:
    with Manifest(run) as manifest:
        settings = manifest["a"].settings
    found = states_of(samples, manifest_files(run), run, layout_of(run), settings, CATS.names, since)
    return [State(state) for state in found]


def test_all_is_done_in_whatever_order(run, samples):
    assert states(run, samples) == [State.DONE] * 3
    assert states(run, samples[::-1]) == [State.DONE] * 3
    assert states(run, [samples[2], Sample("new"), samples[0]]) == [State.DONE, State.TODO, State.DONE]


@pytest.mark.parametrize("path", [mask_path, confidence_path, image_path])
@pytest.mark.parametrize("id", ["a", "b/c"])
def test_an_image_needs_all_its_files(run, samples, layout, path, id):
    path(run, id, layout).unlink()
    assert states(run, samples) == [State.TODO if each == id else State.DONE for each in IDS]


def test_a_link_to_a_moved_image_is_a_link(run, samples):
    samples[0].image.rename(samples[0].image.with_name("moved.jpg"))
    assert states(run, [Sample("a", None, (0,))]) == [State.DONE]
    assert states(run, samples)[0] == State.TODO  # reading it will report the problem


def test_an_edited_mask_is_kept_a_touched_one_is_not_edited(run, samples, layout):
    os.utime(mask_path(run, "a", layout), (1, 1))
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(mask_path(run, "b/c", layout))
    mask_path(run, "d", layout).write_bytes(b"damaged")
    assert states(run, samples) == [State.DONE, State.KEPT, State.TODO]


def test_a_replaced_image_a_touched_one_is_not_replaced(run, samples):
    os.utime(samples[0].image, (1, 1))
    Image.new("RGB", (3, 2)).save(samples[1].image)
    assert states(run, samples) == [State.DONE, State.REPLACED, State.DONE]


def test_labels_of_finished_images_must_not_change(run, samples, layout):
    changed = [Sample("a", samples[0].image, (0, 1)), Sample("b/c", samples[1].image), *samples[2:]]
    with pytest.raises(RunFolderError, match="labels \\(a: cat -> cat, dog, b/c: cat -> no labels\\)"):
        states(run, changed)
    mask_path(run, "a", layout).unlink()
    mask_path(run, "b/c", layout).unlink()
    assert states(run, changed) == [State.TODO, State.TODO, State.DONE]


def test_the_latest_record_counts(run, samples):
    with RunFolder(run, CATS, {"a": 1}) as folder:
        folder.fail(samples[0], "its mask is lost", 0.0)
    assert states(run, samples) == [State.TODO, State.DONE, State.DONE]
    assert states(run, samples, since=2e10) == [State.TODO] * 3
