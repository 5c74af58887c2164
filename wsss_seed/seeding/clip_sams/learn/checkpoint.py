"""Checkpoints of prompt learning: everything that the remaining iterations depend on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....errors import CheckpointError
from ....io.files import plain, write_bytes


@dataclass(frozen=True)
class LearningState:
    """State after some iterations. Order, augmentation and learning rate follow from the iteration alone.

    Attributes:
        iteration: completed iterations.
        vectors: float32 context vectors.
        momentum: float32 momentum buffer of SGD; None before the first step.
        curve: name of a loss -> its value at each iteration.
    """

    iteration: int
    vectors: torch.Tensor
    momentum: torch.Tensor | None
    curve: Mapping[str, tuple[float, ...]]


def save(path: Path, state: LearningState, about: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file.
        state: the state.
        about: everything that determines the outcome, as JSON values; a resumed run must have the same.
    """
    data = io.BytesIO()
    content = {
        "iteration": state.iteration,
        "vectors": state.vectors,
        "momentum": state.momentum,
        "curve": {name: torch.tensor(values, dtype=torch.float64) for name, values in state.curve.items()},
        "about": json.dumps(plain(about)),
    }
    torch.save(content, data)
    write_bytes(path, data.getvalue())


def load(path: Path, about: Mapping[str, Any]) -> LearningState | None:
    """Read a checkpoint; None where there is none.

    Raises:
        WsssError: it is damaged, or was written with other settings (the differences are named).
    """
    remedy = "give another `out`, or `overwrite` to start over"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        former = dict(json.loads(content["about"]))
        curve = {str(name): tuple(map(float, values.tolist())) for name, values in content["curve"].items()}
        vectors, momentum = content["vectors"].float(), content["momentum"]
        momentum = None if momentum is None else momentum.float().view(vectors.shape)
        state = LearningState(int(content["iteration"]), vectors, momentum, curve)
    except FileNotFoundError:
        return None
    except Exception:  # a torn or foreign file fails in many ways
        raise CheckpointError(f"{path}: not a readable checkpoint of learn-prompts; {remedy}") from None
    now = plain(about)
    different = [k for k in sorted({*former, *now}) if former.get(k) != now.get(k)]
    if different:
        shown = "; ".join(f"{k}: {former.get(k)!r} before, {now.get(k)!r} now" for k in different[:3])
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise CheckpointError(f"{path.parent}: learning started here with other settings ({shown}{more}); {remedy}")
    return state
