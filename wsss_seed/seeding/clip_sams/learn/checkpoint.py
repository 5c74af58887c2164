"""How far a learning run is, on disk: everything that the rest of it depends on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....errors import WsssError
from ....io.files import plain, write_bytes


@dataclass(frozen=True)
class Progress:
    """The state after some iterations. Order, augmentation and learning rate follow from the iteration alone.

    Attributes:
        iteration: how many are done.
        vectors: float32, the context vectors.
        momentum: float32, SGD's buffer; None before the first step.
        curve: name of a loss -> its value in each iteration.
    """

    iteration: int
    vectors: torch.Tensor
    momentum: torch.Tensor | None
    curve: Mapping[str, tuple[float, ...]]


def save(path: Path, progress: Progress, about: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        progress: the state.
        about: everything that determines the outcome, as JSON values; a resumed run must have the same.
    """
    data = io.BytesIO()
    state = {
        "iteration": progress.iteration,
        "vectors": progress.vectors,
        "momentum": progress.momentum,
        "curve": {name: torch.tensor(values, dtype=torch.float64) for name, values in progress.curve.items()},
        "about": json.dumps(plain(about)),
    }
    torch.save(state, data)
    write_bytes(path, data.getvalue())


def load(path: Path, about: Mapping[str, Any]) -> Progress | None:
    """Read a checkpoint; None where there is none.

    Raises:
        WsssError: it is damaged, or of a run with other settings (the differences are named).
    """
    remedy = "give another --out, or --overwrite to begin again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        former = dict(json.loads(state["about"]))
        curve = {str(name): tuple(map(float, values.tolist())) for name, values in state["curve"].items()}
        vectors, momentum = state["vectors"].float(), state["momentum"]
        momentum = None if momentum is None else momentum.float().view(vectors.shape)
        progress = Progress(int(state["iteration"]), vectors, momentum, curve)
    except FileNotFoundError:
        return None
    except Exception:  # whatever a torn or foreign file makes the reader of pickles raise, and of whatever types it is
        raise WsssError(f"{path}: not a readable checkpoint of learn-prompts; {remedy}") from None
    now = plain(about)
    different = [k for k in sorted({*former, *now}) if former.get(k) != now.get(k)]
    if different:
        shown = "; ".join(f"{k}: {former.get(k)!r} before, {now.get(k)!r} now" for k in different[:3])
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise WsssError(f"{path.parent}: learning began here with other settings ({shown}{more}); {remedy}")
    return progress
