"""SAM's image encoder through torch.compile."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from wsss_seed.data.toyland import draw
from wsss_seed.errors import UsageError
from wsss_seed.models.compiling import compile_encoder
from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY, ModelSet


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Nothing compiled before is used."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_encoder_gives_the_same_masks(precision):
    scene = draw(3, "test")
    plain, models = load_sam(TINY, precision=precision), ModelSet("tiny", "cpu", precision=precision, compile=True)
    sam = models.sam
    assert sam.model.image_encoder._compiled_call_impl is not None
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert before > 0
    wanted, found = (s.embed(scene.image) for s in (plain, sam))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before  # nothing is compiled at the first image
    largest = float(wanted.features.abs().max())
    assert (found.features - wanted.features).abs().max() < (1e-4 if precision == "fp32" else 0.05) * largest
    masks = [s.decode_boxes(e, scene.boxes).low_res > 0 for s, e in ((plain, wanted), (sam, found))]
    assert (masks[0] == masks[1]).float().mean() > (0.9999 if precision == "fp32" else 0.99)


def test_without_a_compiler_one_line_says_so(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (os.devnull + "/no-compiler",))
    with pytest.raises(UsageError, match=r"`compile`: torch cannot compile .*install a C\+\+ compiler") as error:
        compile_encoder(load_sam(TINY))
    assert "\n" not in str(error.value)


def test_models_of_transformers_are_not_compiled():
    with pytest.raises(UsageError, match=r"`compile` is for SAM of segment-anything, not hf:facebook/sam2"):
        ModelSet("light", "cpu", compile=True)


def test_a_set_stays_compiled():
    models = ModelSet("base", "cpu", compile=True)
    assert models.for_backend("clip-sams").compile
    assert models.on("cuda").compile
    assert models.resuming("fp32").compile
    assert not ModelSet("base", "cpu").compile
