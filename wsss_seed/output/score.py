"""The last score of a run against ground truth, kept in the run folder as ``evaluation.json`` for its card.

A score is of the masks as they were: it no longer counts once the run has other masks or other corrections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..data.corrections import CORRECTIONS, LOG
from ..evaluation.evaluate import Evaluation
from ..io.files import write_bytes
from ..io.source import Location
from ..io.stamp import Stamp
from .manifest import MANIFEST

EVALUATION = "evaluation.json"


class Score(msgspec.Struct, frozen=True):
    """The figures of an evaluation of a run.

    Attributes:
        truth: the ground truth, in words.
        images: number of images compared.
        policy: how ignored pixels of the masks count in ``miou``.
        miou: mean IoU, 0..1.
        miou_by_policy: the same for each policy.
        coverage: share of pixels that are not ignored.
        corrected: whether corrected masks were used.
        manifest: SHA-256 of the manifest, which has a time for each mask.
        corrections: bytes of the log of corrections.
    """

    truth: str
    images: int
    policy: str
    miou: float
    miou_by_policy: dict[str, float | None]
    coverage: float | None
    corrected: bool
    manifest: str
    corrections: int

    def __str__(self) -> str:
        others = ", ".join(
            f"{100 * value:.1f} % {_HOW[policy]}"
            for policy, value in self.miou_by_policy.items()
            if policy != self.policy and value is not None
        )
        coverage = "" if self.coverage is None else f"; {100 * self.coverage:.1f} % of the pixels are not ignored"
        return (
            f"mIoU {100 * self.miou:.1f} % over {self.images} images of {self.truth} with ignored pixels "
            f"{_HOW[self.policy]} ({others}){coverage}"
        )


_HOW = {"background": "as background", "wrong": "as errors", "skip": "excluded"}


def score_of(
    run: Location, about: Mapping[str, Any], evaluation: Evaluation, truth: str, corrected: bool
) -> Score | None:
    """The score that an evaluation of a run is; None without a figure, or while the run is in progress.

    Args:
        run: the run folder.
        about: contents of its ``run.json``.
        evaluation: of its masks.
        truth: the ground truth, in words.
        corrected: whether corrected masks were used.
    """
    if evaluation.miou is None or evaluation.unfinished or not about.get("finished"):
        return None
    return Score(
        truth,
        evaluation.images,
        evaluation.policy,
        evaluation.miou,
        dict(evaluation.miou_by_policy),
        evaluation.coverage,
        corrected,
        _digest(run),
        _decisions(run),
    )


def write_score(run: Location, score: Score) -> None:
    """Keep a score in the run folder. Raises OSError."""
    write_bytes(run / EVALUATION, msgspec.json.format(msgspec.json.encode(score), indent=2) + b"\n")


def read_score(run: Location, about: Mapping[str, Any]) -> Score | None:
    """The score in a run folder; None if there is none, or the run has changed since.

    Args:
        run: the run folder.
        about: contents of its ``run.json``.
    """
    try:
        found = msgspec.json.decode((run / EVALUATION).read_bytes(), type=Score)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    known = found.policy in _HOW and set(found.miou_by_policy) <= set(_HOW) and about.get("finished") is not None
    return found if known and found.corrections == _decisions(run) and found.manifest == _digest(run) else None


def _digest(run: Location) -> str:
    """SHA-256 of the manifest; empty if it cannot be read."""
    try:
        return Stamp.of(run / MANIFEST).sha256
    except OSError:
        return ""


def _decisions(run: Location) -> int:
    try:
        return (run / CORRECTIONS / LOG).stat().st_size
    except OSError:
        return 0
