"""One HTML page about a run: totals, classes, settings, and images, worst first."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.base import Dataset
from ...errors import ImageError, RunFolderError
from ...evaluation import metrics
from ...evaluation.confusion import confusion_matrix
from ...io.files import write_text
from ...io.prefetch import prefetch_map
from ..finished import FinishedRun, open_run, truth_for
from ..manifest import Record
from ..truth import own_truth
from .card import Card, make_card
from .evidence import EvidenceOf, no_evidence
from .page import render
from .pictures import enlarged_side

if TYPE_CHECKING:
    from ...io.progress import Reporter

LIMIT = 2000
"""Default limit on images in a page; two thousand photographs are about 100 MB."""


@dataclass(frozen=True)
class Reported:
    """Summary of a report.

    Attributes:
        out: the page.
        images: number of images in the metrics.
        shown: number of images on the page.
        gaps: what the run lacks, in words; empty if it is complete.
        miou: mIoU of these images, ignored pixels counted as background; None without ground truth.
        failed: id and error of images that could not be read or compared.
    """

    out: Path
    images: int
    shown: int
    gaps: str
    miou: float | None
    failed: tuple[tuple[str, str], ...]

    @property
    def exit_status(self) -> int:
        """0 success, 1 some images could not be read or compared."""
        return 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "out": str(self.out),
            "images": self.images,
            "shown": self.shown,
            "gaps": self.gaps,
            "miou": self.miou,
            "bytes": self.out.stat().st_size,
            "failed": [{"id": name, "error": error} for name, error in self.failed],
        }


def report(
    run: Path,
    out: Path | None = None,
    *,
    truth: Dataset | Path | None = None,
    evidence_of: EvidenceOf = no_evidence,
    limit: int = LIMIT,
    corrected: bool = True,
    progress: Reporter | None = None,
) -> Reported:
    """Write the page of a run.

    Figures are over all finished images; the gallery shows the worst of them: those with the lowest IoU if ground
    truth is given, else those that are most uncertain or most likely miss a class.

    Args:
        run: the run folder.
        out: the page; ``report.html`` in the run folder by default.
        truth: ground truth for errors and IoU, a dataset or a folder of index PNGs; that of toyland is drawn again and
            need not be given.
        evidence_of: for the boxes and CLIP's scores of an image.
        limit: number of images to show.
        corrected: show corrected masks, and leave out rejected images.
        progress: progress display.

    Raises:
        WsssError: no run, no image that can be shown, ground truth of other classes, or a page that cannot be written.
    """
    source = open_run(run, corrected=corrected)
    truth = own_truth(source) if truth is None else truth
    truth_of = None if truth is None else truth_for(source, truth)
    out = out or run / "report.html"
    if out.is_dir():
        raise RunFolderError(f"{out}: a folder; give the file to write")
    failed: list[tuple[str, str]] = []
    classes = len(source.names)
    totals = _Totals()
    side = enlarged_side(min(limit, len(source.records)))

    def make(record: Record) -> Card:
        return make_card(source, record, truth_of, evidence_of, side)

    try:
        if progress is not None:
            progress.start(len(source.records), 0)
        cards = heapq.nsmallest(limit, _cards(source, make, totals, failed, progress), key=_sort_key)
    finally:
        if progress is not None:
            progress.stop()
    if not cards:
        raise RunFolderError(f"{failed[0][1]} (none of {len(failed)} images can be shown)")
    iou = metrics.iou(metrics.resolve_ignored(confusion_matrix(totals.joint, classes), "background"))
    compared = bool(totals.joint.any())
    text = render(source, cards, _figures(source, totals, iou, compared), failed)
    try:
        write_text(out, text.encode("utf-8", "replace").decode())  # JSON can hold what UTF-8 cannot
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written ({error.strerror or error}); choose another `out`") from error
    return Reported(
        out=out,
        images=totals.images,
        shown=len(cards),
        gaps=source.gaps,
        miou=float(metrics.mean(iou)) if compared else None,
        failed=tuple(failed),
    )


@dataclass
class _Totals:
    """Sums over the images.

    Attributes:
        joint: int64 (256, 256) pixels by ground truth and prediction.
        pixels: int64 (256,) pixels by label.
        doubt: float64 (256,) sum of 1 - confidence over the pixels of each label.
        images_with: int64 (256,) images by label.
        missed: int64 (256,) images that may have missed a class, by its label.
        scores: scores of each class in the images with a mask of it, their sum and number by name.
        images: number of images.
        uncertainty: sum of their uncertainties.
        compared: number of images with ground truth.
    """

    joint: np.ndarray = field(default_factory=lambda: np.zeros((256, 256), np.int64))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    doubt: np.ndarray = field(default_factory=lambda: np.zeros(256))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    missed: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    scores: dict[str, tuple[float, int]] = field(default_factory=dict)
    images: int = 0
    uncertainty: float = 0.0
    compared: int = 0

    def add(self, card: Card, record: Record, names: tuple[str, ...]) -> None:
        """Count an image."""
        self.images += 1
        self.uncertainty += card.uncertainty
        self.pixels += card.pixels
        self.doubt += card.doubt
        self.images_with += card.pixels > 0
        if card.joint is not None:
            self.joint += card.joint
            self.compared += 1
        for entry in card.missed:
            self.missed[entry.label] += 1
        for name, pixels in zip(names[1:], card.pixels[1:], strict=False):
            score = record.scores.get(name)
            if pixels and score is not None:
                total, images = self.scores.get(name, (0.0, 0))
                self.scores[name] = total + score, images + 1


def _cards(
    run: FinishedRun,
    make: Callable[[Record], Card],
    totals: _Totals,
    failed: list[tuple[str, str]],
    progress: Reporter | None,
) -> Iterator[Card]:
    """The cards in the order of the run; updates totals and failures while iterating."""
    workers = min(8, os.cpu_count() or 1)
    for record, future in prefetch_map(make, run.records, workers=workers, depth=2 * workers):
        try:
            card = future.result()
        except ImageError as error:
            failed.append((record.id, str(error)))
        else:
            totals.add(card, record, run.names)
            if card.trouble:
                failed.append((record.id, card.trouble))
            yield card.without_counts()
        if progress is not None:
            progress.step()


def _sort_key(card: Card) -> tuple[bool, float, str]:
    """Sort key, worst first. Cards with missing ground truth come first."""
    return (card.trouble == "", -card.doubted if card.iou is None else card.iou, card.id)


def _figures(run: FinishedRun, totals: _Totals, iou: np.ndarray, compared: bool) -> Mapping[str, Any]:
    return {
        "images": totals.images,
        "failed": len(run.failed),
        "gaps": run.gaps,
        "uncertainty": totals.uncertainty / totals.images,
        "ignore": int(totals.pixels[255]) / int(totals.pixels.sum()),
        "compared": totals.compared,
        "miou": float(metrics.mean(iou)) if compared else None,
        "classes": [_class(run, totals, iou, compared, label) for label in range(len(run.names))],
    }


def _class(run: FinishedRun, totals: _Totals, iou: np.ndarray, compared: bool, label: int) -> Mapping[str, Any]:
    """A row of the table of classes."""
    name, pixels = run.names[label], int(totals.pixels[label])
    score, scored = totals.scores.get(name, (0.0, 0))
    return {
        "label": label,
        "name": name,
        "colour": "#{:02x}{:02x}{:02x}".format(*run.palette[label]),
        "images": int(totals.images_with[label]),
        "share": pixels / int(totals.pixels.sum()),
        "score": score / scored if scored else None,
        "uncertainty": float(totals.doubt[label]) / pixels if pixels else None,
        "missed": int(totals.missed[label]),
        "iou": float(iou[label]) if compared and not np.isnan(iou[label]) else None,
    }
