"""The training of the miniature CLIP whose patch features match the texts of their objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import train_clip_regions as regions
import world
from clip_data import Views
from make_bpe import BUNDLED
from open_clip.tokenizer import SimpleTokenizer

from tests.rounding import assert_same


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Views:
    return Views(world.arrays("train", 24, tmp_path_factory.mktemp("world"), workers=1))


class _Numbered(Views):
    """Views of one grey each: their number in the batch."""

    def draw(self, rng, n, side, *args, **kwargs):
        grey = np.arange(n, dtype=np.uint16).astype(np.uint8)
        return np.broadcast_to(grey[:, None, None, None], (n, side, side, 3)), np.zeros((n, 20), np.int8)


def test_every_patch_knows_its_tile(views):
    seen = set()
    for seed in range(20):
        pixels, facts, tiles = regions.mosaic(_Numbered(views.data), np.random.default_rng(seed))
        number = len(facts) // len(pixels)
        seen.add(number)
        assert np.bincount(tiles).tolist() == [256 // number] * number
        cell = regions.SIZE // regions.GRID
        patches = pixels[..., 0].reshape(-1, regions.GRID, cell, regions.GRID, cell).swapaxes(2, 3).reshape(-1, 256, 64)
        expected = (np.arange(len(pixels))[:, None] * number + tiles).astype(np.uint8)
        assert (patches == expected[..., None]).all()
    assert seen == {1, 4, 16}


@torch.inference_mode()
def test_with_the_residual_stream_it_is_the_model_itself():
    torch.manual_seed(0)
    model = regions.build(regions.SIZE, SimpleTokenizer(bpe_path=str(BUNDLED), context_length=regions.CONTEXT)).eval()
    pixels = torch.randn(2, 3, regions.SIZE, regions.SIZE)
    with_it, without = regions.two_ways(model, pixels, torch.arange(256).expand(2, -1))
    assert_same(with_it[:, 0] @ model.visual.proj, model.encode_image(pixels))
    assert with_it.shape == without.shape == (2, 257, model.visual.proj.shape[0])
    assert not torch.allclose(with_it, without)


class _Interrupted(Views):
    """Views that stop the training at the third batch."""

    left = 3

    def draw(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().draw(*args, **kwargs)


def test_an_interrupted_training_ends_as_an_undisturbed_one(views, tmp_path):
    regions.train(views, views, tmp_path / "whole", [2, 1])
    with pytest.raises(KeyboardInterrupt):
        regions.train(_Interrupted(views.data), views, tmp_path / "parts", [2, 1])
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 2
    regions.train(views, views, tmp_path / "parts", [2, 1])
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 3
    for name, value in whole["model"].items():
        assert torch.equal(value, parts["model"][name]), name
    assert len((tmp_path / "parts" / "curve.csv").read_text().splitlines()) == 3
