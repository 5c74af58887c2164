"""The recorded inputs and outputs of the original implementations; README.md says how they were made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

VECTORS = Path(__file__).parent / "vectors"


class Golden:
    """One file of arrays, ``<case>.<array>`` or ``<case>.<variant>.<array>``, with the parameters of its cases."""

    def __init__(self, name: str):
        self.arrays = dict(np.load(VECTORS / f"{name}.npz"))
        self.json: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())

    @property
    def cases(self) -> dict[str, Any]:
        return self.json["cases"]

    def __call__(self, *key: str) -> np.ndarray:
        return self.arrays[".".join(key)]

    def tensor(self, *key: str) -> torch.Tensor:
        """A copy; what is stored in half precision without loss is float32 again."""
        array = self(*key)
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array.copy())

    def has(self, *key: str) -> bool:
        return ".".join(key) in self.arrays


golden = cache(Golden)
