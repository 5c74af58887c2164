"""Decisions about the masks of a run, for all tests of its readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss_seed.data.classes import read_names, voc_palette
from wsss_seed.data.corrections import Correction, CorrectionLog, Verdict


def decide(run: Path, id: str, labels: np.ndarray | None = None, verdict: Verdict = "accepted") -> Correction:
    """Accept or reject an image of a run, or give it a corrected mask."""
    with CorrectionLog(run, read_names(run / "classes.txt"), voc_palette(), "ann") as log:
        last = log.latest(id)
        return log.decide(id, revision=last.revision if last else 0, verdict=verdict, labels=labels, what="test")
