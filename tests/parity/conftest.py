"""Inputs and outputs of the method's original implementation (FMA-WSSS, CLIP-ES), which the project does not ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict

from tests.parity.goldens import FOLDER
from wsss_seed.models.clip import Clip


class Golden:
    """One file of arrays, ``<case>.<array>`` or ``<case>.<config>.<array>``, with the parameters of its cases."""

    def __init__(self, name: str):
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))
        self.json: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())

    @property
    def cases(self) -> dict[str, Any]:
        return self.json["cases"]

    def __call__(self, *key: str) -> np.ndarray:
        return self.arrays[".".join(key)]

    def tensor(self, *key: str) -> torch.Tensor:
        return torch.from_numpy(np.array(self(*key)))

    def has(self, *key: str) -> bool:
        return ".".join(key) in self.arrays


_opened: dict[str, Golden] = {}


def golden(name: str) -> Golden:
    if name not in _opened:
        _opened[name] = Golden(name)
    return _opened[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``case`` is run for every case of its module's GOLDEN; without the files it is skipped."""
    if "case" not in metafunc.fixturenames:
        return
    name = metafunc.module.GOLDEN
    if (FOLDER / f"{name}.npz").is_file():
        cases = list(golden(name).cases)
        starts = getattr(metafunc.function, "cases", "")
        metafunc.parametrize("case", [c for c in cases if c.startswith(starts)])
    else:
        metafunc.parametrize("case", [pytest.param("none", marks=pytest.mark.skip(reason=_absent(name)))])


def _absent(name: str) -> str:
    return f"no {name}.npz in {FOLDER}; set WSSS_SEED_GOLDENS to the folder of the reference arrays"


@pytest.fixture
def g(request: pytest.FixtureRequest) -> Golden:
    """The golden file of the module."""
    name = request.module.GOLDEN
    if not (FOLDER / f"{name}.npz").is_file():
        pytest.skip(_absent(name))
    return golden(name)


@pytest.fixture(scope="session")
def clip() -> Clip:
    """The tiny random CLIP of the goldens: OpenAI's state-dict names, QuickGELU, CLIP's own tokenizer."""
    if not (FOLDER / "tiny_clip.npz").is_file():
        pytest.skip(_absent("tiny_clip"))
    arrays = golden("tiny_clip").arrays
    weights = {k.removeprefix("sd."): torch.from_numpy(np.array(v)) for k, v in arrays.items() if k.startswith("sd.")}
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
