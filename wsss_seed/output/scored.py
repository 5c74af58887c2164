"""A run that was scored: its figures go to its card."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..data.base import Dataset
from ..data.classes import read_names
from ..data.voc_layout import CLASSES
from ..errors import WsssError
from ..evaluation.evaluate import Evaluation
from ..io.source import Location
from .dataset_card import run_card, write_card
from .run_folder import read_run
from .score import score_of, write_score


def record_score(run: Location, evaluation: Evaluation, truth: Dataset | Path, corrected: bool) -> None:
    """Keep the score of a run folder and write its card again, if the folder is one and can be written to.

    Args:
        run: what was scored: a run folder on this machine, or any other place, which is left alone.
        evaluation: of its masks.
        truth: the ground truth.
        corrected: whether corrected masks were used.
    """
    if not isinstance(run, Path):
        return
    name = truth.title if isinstance(truth, Dataset) else f"the ground truth in a folder {truth.resolve().name}"
    with suppress(OSError, WsssError):  # the figures are shown all the same
        about = read_run(run)
        score = None if about is None else score_of(run, about, evaluation, name, corrected)
        if about is not None and score is not None:
            write_score(run, score)
            write_card(run, run_card(about, read_names(run / CLASSES)[1:], score))
