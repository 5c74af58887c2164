"""Every model in every precision: whether it answers, with finite float32 values of the same shape in all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.gpu.models import (
    Case,
    answers,
    bundled,
    full_size,
    of_transformers,
    of_transformers_in_full_size,
)
from tests.benchmarks.gpu.pictures import picture
from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    for make in (bundled, *scale.pick((partial(full_size, "base", "large"),), ()), of_transformers):
        for name, case in make().items():
            yield {name: _tried(name, case, scale, scale.precisions)}
    if not scale.small:
        for name, case in of_transformers_in_full_size().items():
            yield {name: _tried(name, case, scale, ("bf16",))}


def _tried(name: str, case: Case, scale: Scale, precisions: tuple[str, ...]) -> dict[str, Any]:
    """Precision -> seconds of the first call and, on a GPU, of the second, or the error."""
    image = picture(size=scale.pick((500, 375), (160, 120)))
    shapes: dict[str, tuple[int, ...]] = {}
    found: dict[str, Any] = {}
    for precision in precisions:
        print(name, precision, file=sys.stderr, flush=True)
        try:
            model = case.make(scale.device, precision)
            seconds = []
            for _ in range(2 if scale.gpu else 1):
                begin = time.perf_counter()
                answer = answers(model, image.copy())
                seconds.append(time.perf_counter() - begin)
            _check(answer, shapes)
            found[precision] = seconds
        except Exception as error:
            found[precision] = {"error": described(error)}
    return found


def _check(answer: Mapping[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError for an answer that cannot be right; ``shapes`` are those of the first precision."""
    for name, value in answer.items():
        expected = bool if name == "masks" else np.float32
        if value.dtype != expected:
            raise ValueError(f"{name} is {value.dtype}, not {np.dtype(expected)}")
        if not np.isfinite(value).all():
            raise ValueError(
                f"{name} has {int((~np.isfinite(value)).sum())} of {value.size} values that are not finite"
            )
        if value.shape != shapes.setdefault(name, value.shape):
            raise ValueError(f"{name} has shape {value.shape}, not {shapes[name]} as in the first precision")
