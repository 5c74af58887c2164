"""One HTML page about a run: totals, classes, settings, and images, worst first."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from .card import Card, TruthOf, make_card
from .page import render

if TYPE_CHECKING:
    from ...io.progress import Reporter

LIMIT = 2000
"""Default limit on images in a page; two thousand are about 25 MB."""


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
    limit: int = LIMIT,
    progress: Reporter | None = None,
) -> Reported:
    """Write the page of a run.

    Figures are over all finished images; the gallery shows the worst of them: those with the lowest IoU if ground
    truth is given, else those with the highest uncertainty.

    Args:
        run: the run folder.
        out: the page; ``report.html`` in the run folder by default.
        truth: ground truth for errors and IoU, a dataset or a folder of index PNGs.
        limit: number of images to show.
        progress: progress display.

    Raises:
        WsssError: no run, no image that can be shown, ground truth of other classes, or a page that cannot be written.
    """
    source = open_run(run)
    truth_of = None if truth is None else truth_for(source, truth)
    out = out or run / "report.html"
    if out.is_dir():
        raise RunFolderError(f"{out}: a folder; give the file to write")
    failed: list[tuple[str, str]] = []
    classes = len(source.names)
    totals = _Totals(np.zeros((256, 256), np.int64), np.zeros(256, np.int64), np.zeros(256, np.int64))
    try:
        if progress is not None:
            progress.start(len(source.records), 0)
        cards = heapq.nsmallest(limit, _cards(source, truth_of, totals, failed, progress), key=_sort_key)
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
        images_with: int64 (256,) images by label.
        images: number of images.
        uncertainty: sum of their uncertainties.
        compared: number of images with ground truth.
    """

    joint: np.ndarray
    pixels: np.ndarray
    images_with: np.ndarray
    images: int = 0
    uncertainty: float = 0.0
    compared: int = 0


def _cards(
    run: FinishedRun,
    truth_of: TruthOf | None,
    totals: _Totals,
    failed: list[tuple[str, str]],
    progress: Reporter | None,
) -> Iterator[Card]:
    """The cards in the order of the run; updates totals and failures while iterating."""
    workers = min(8, os.cpu_count() or 1)

    def make(record: Record) -> Card:
        return make_card(run, record, truth_of)

    for record, future in prefetch_map(make, run.records, workers=workers, depth=2 * workers):
        try:
            card = future.result()
        except ImageError as error:
            failed.append((record.id, str(error)))
        else:
            totals.images += 1
            totals.uncertainty += card.uncertainty
            totals.pixels += card.pixels
            totals.images_with += card.pixels > 0
            if card.joint is not None:
                totals.joint += card.joint
                totals.compared += 1
            if card.trouble:
                failed.append((record.id, card.trouble))
            yield card.without_counts()
        if progress is not None:
            progress.step()


def _sort_key(card: Card) -> tuple[bool, float, str]:
    """Sort key, worst first. Cards with missing ground truth come first."""
    return (card.trouble == "", -card.uncertainty if card.iou is None else card.iou, card.id)


def _figures(run: FinishedRun, totals: _Totals, iou: np.ndarray, compared: bool) -> Mapping[str, Any]:
    area = int(totals.pixels.sum())
    return {
        "images": totals.images,
        "failed": len(run.failed),
        "gaps": run.gaps,
        "uncertainty": totals.uncertainty / totals.images,
        "ignore": int(totals.pixels[255]) / area,
        "compared": totals.compared,
        "miou": float(metrics.mean(iou)) if compared else None,
        "classes": [
            {
                "label": label,
                "name": name,
                "colour": "#{:02x}{:02x}{:02x}".format(*run.palette[label]),
                "images": int(totals.images_with[label]),
                "share": int(totals.pixels[label]) / area,
                "iou": float(iou[label]) if compared and not np.isnan(iou[label]) else None,
            }
            for label, name in enumerate(run.names)
        ],
    }
