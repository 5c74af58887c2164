"""Fixtures for the recorded inputs and outputs of the original implementations (FMA-WSSS, CLIP-ES)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict

from tests.parity.goldens import Golden, golden
from wsss_seed.models.clip import Clip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``case`` runs for every case of its module's GOLDEN."""
    if "case" in metafunc.fixturenames:
        starts = getattr(metafunc.function, "cases", "")
        cases = [c for c in golden(metafunc.module.GOLDEN).cases if c.startswith(starts)]
        assert cases
        metafunc.parametrize("case", cases)


@pytest.fixture
def g(request: pytest.FixtureRequest) -> Golden:
    """The golden file of the module."""
    return golden(request.module.GOLDEN)


@pytest.fixture(scope="session")
def clip() -> Clip:
    """The tiny random CLIP of the goldens: OpenAI's state-dict names, QuickGELU, CLIP's own tokenizer."""
    arrays = golden("tiny_clip").arrays
    weights = {k.removeprefix("sd."): torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("sd.")}
    table = torch.zeros(49408, 64, dtype=torch.float16)
    table[torch.from_numpy(arrays["tok_ids"]).long()] = torch.from_numpy(arrays["tok_emb"])
    weights["token_embedding.weight"] = table
    model = build_model_from_openai_state_dict(weights, cast_dtype=torch.float32)
    return Clip(model, open_clip.get_tokenizer("ViT-B-16"), name="tiny random CLIP")


@pytest.fixture
def close() -> Callable[..., None]:
    """Compare with an absolute tolerance, or one relative to the largest expected magnitude.

    Other libraries made the recordings on another machine, so that rounding differs, as ``rounding`` explains. The
    tolerances are 1e-5 for single steps and normalised features and up to 1e-3 where weights were in half precision or
    gradients are taken of gradients: 3 to 100 times what was seen with the kernels of any processor.
    """

    def compare(got: Any, expected: np.ndarray, atol: float = 0.0, of_max: float = 0.0) -> None:
        got = np.asarray(got.detach().cpu() if isinstance(got, torch.Tensor) else got)
        assert got.shape == expected.shape
        assert np.isfinite(got).all()
        bound = atol + of_max * float(np.abs(expected).max(initial=0))
        worst = float(np.abs(got.astype(np.float64) - expected).max(initial=0))
        assert worst <= bound, f"differs by {worst:.3g}, allowed {bound:.3g}"

    return compare
