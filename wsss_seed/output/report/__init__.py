"""An HTML page about a run: totals, classes, settings, and images, worst first; or about the differences of two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...data.base import Dataset
from ...errors import ImageError, RunFolderError, UsageError
from ...io.files import write_text
from ...io.prefetch import prefetch_map
from ...io.text import read_json
from ..finished import open_run, truth_for
from ..folder import MARKER, whole_folder
from ..manifest import Record
from ..truth import own_truth
from .card import Card, make_card
from .evidence import EvidenceOf, no_evidence
from .figures import Totals
from .gallery import Entry, Gallery, in_files, in_page
from .page import render
from .pictures import LARGE, enlarged_side

if TYPE_CHECKING:
    from ...io.progress import Reporter

T = TypeVar("T")

LIMIT = 2000
"""Default limit on images in a page; two thousand photographs are about 100 MB."""

PAGE = "index.html"
"""The page in a folder."""


@dataclass(frozen=True)
class Reported:
    """Summary of a report.

    Attributes:
        out: the page, or the folder.
        images: number of images in the metrics.
        shown: number of images on the page.
        gaps: what the run lacks, in words; empty if it is complete.
        miou: mIoU of these images, ignored pixels counted as background; None without ground truth.
        failed: id and error of images that could not be read or compared.
        bytes: size of the page, or of all files in the folder.
    """

    out: Path
    images: int
    shown: int
    gaps: str
    miou: float | None
    failed: tuple[tuple[str, str], ...]
    bytes: int

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
            "bytes": self.bytes,
            "failed": [{"id": name, "error": error} for name, error in self.failed],
        }


def report(
    run: Path,
    out: Path | None = None,
    *,
    folder: Path | None = None,
    truth: Dataset | Path | None = None,
    evidence_of: EvidenceOf = no_evidence,
    limit: int | None = None,
    corrected: bool = True,
    progress: Reporter | None = None,
) -> Reported:
    """Write the page of a run.

    Figures are over all finished images; the gallery shows the worst of them: those with the lowest IoU if ground
    truth is given, else those that are most uncertain or most likely miss a class.

    Args:
        run: the run folder.
        out: the page; ``report.html`` in the run folder by default.
        folder: write a folder with the page ``index.html`` and the images as files instead; one that a report wrote is
            replaced.
        truth: ground truth for errors and IoU, a dataset or a folder of index PNGs; that of toyland is drawn again and
            need not be given.
        evidence_of: for the boxes and CLIP's scores of an image.
        limit: number of images to show; by default 2,000, in a folder all.
        corrected: show corrected masks, and leave out rejected images.
        progress: progress display.

    Raises:
        WsssError: no run, no image that can be shown, ground truth of other classes, or a page that cannot be written.
    """
    source = open_run(run, corrected=corrected)
    truth = own_truth(source) if truth is None else truth
    truth_of = None if truth is None else truth_for(source, truth)
    place = Place(run, out, folder, "report.html", limit)
    failed: list[tuple[str, str]] = []
    totals = Totals()
    side = place.side(len(source.records))

    def make(record: Record) -> Card:
        return make_card(source, record, truth_of, evidence_of, side)

    def cards() -> Iterator[Card]:
        for record, card in made(source.records, make, failed, progress):
            totals.add(card, record, source.names)
            if card.trouble:
                failed.append((record.id, card.trouble))
            yield card.without_counts()

    written, shown = place.write(
        cards(), failed, progress, lambda gallery: render(source, gallery, totals.figures(source), failed)
    )
    return Reported(
        out=place.path,
        images=totals.images,
        shown=shown,
        gaps=source.gaps,
        miou=totals.figures(source)["miou"],
        failed=tuple(failed),
        bytes=written,
    )


class Place:
    """Where a report is written: a file with everything in it, or a folder.

    Args:
        run: the run folder.
        out: the file; None for the default.
        folder: the folder; None for a file.
        name: default name of the file, in the run folder.
        limit: number of images to show; None for the default.

    Raises:
        WsssError: file and folder are both given, or cannot be written to.
    """

    def __init__(self, run: Path, out: Path | None, folder: Path | None, name: str, limit: int | None) -> None:
        if out is not None and folder is not None:
            raise UsageError(f"`out` {out} and `folder` {folder}: give one of them, a file or a folder to write")
        self._file = None if folder is not None else out or run / name
        self.path = folder or self._file or run / name
        self._limit = limit
        if folder is None and self.path.is_dir():
            raise RunFolderError(f"{self.path}: a folder; give the file to write, or a new folder with `folder`")
        if folder is not None and run.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise RunFolderError(f"{folder}: lies in the run folder; choose another folder")

    def side(self, images: int) -> int:
        """Longest side of enlarged pictures in pixels, if the runs have this number of images."""
        return LARGE if self._file is None else enlarged_side(min(self._limit or LIMIT, images))

    def write(
        self,
        entries: Iterator[Entry],
        failed: list[tuple[str, str]],
        progress: Reporter | None,
        text: Callable[[Gallery], str],
    ) -> tuple[int, int]:
        """Write the report, whole or not at all.

        Args:
            entries: the images.
            failed: id and error of the images that could not be read, which grows while these are iterated.
            progress: stopped when the images have been read.
            text: the page, once they have been.

        Returns:
            The number of bytes, and the number of images shown.

        Raises:
            WsssError: no image can be shown, or the report cannot be written.
        """
        try:
            if self._file is not None:
                with _stopping(progress):
                    gallery = in_page(entries, self._limit or LIMIT)
                _refuse_nothing(gallery, failed)
                # JSON can hold what UTF-8 cannot
                page = text(gallery).encode("utf-8", "replace")
                write_text(self._file, page.decode())
                return len(page), gallery.shown
            with whole_folder(self.path, _is_report(self.path), {"format": "report"}) as folder:
                with _stopping(progress):
                    gallery = in_files(entries, self._limit, folder)
                _refuse_nothing(gallery, failed)
                page = text(gallery).encode("utf-8", "replace")
                (folder / PAGE).write_bytes(page)
            return gallery.bytes + len(page), gallery.shown
        except OSError as error:
            remedy = "choose another `out`" if self._file is not None else "make room or choose another `folder`"
            raise RunFolderError(f"{self.path}: cannot be written ({error.strerror or error}); {remedy}") from error


def _is_report(folder: Path) -> bool:
    """Whether a report was written to a folder. Raises RunFolderError if it has another export."""
    if not (folder / MARKER).is_file():
        return False
    marker = read_json(folder / MARKER)
    if not isinstance(marker, dict) or marker.get("format") != "report":
        raise RunFolderError(f"{folder}: holds an export that is no report; choose another `folder`")
    return True


def _refuse_nothing(gallery: Gallery, failed: list[tuple[str, str]]) -> None:
    if not gallery.shown:
        raise RunFolderError(f"{failed[0][1]} (none of {len(failed)} images can be shown)")


@contextmanager
def _stopping(progress: Reporter | None) -> Iterator[None]:
    try:
        yield
    finally:
        if progress is not None:
            progress.stop()


def made(
    records: Sequence[Record],
    make: Callable[[Record], T],
    failed: list[tuple[str, str]],
    progress: Reporter | None,
) -> Iterator[tuple[Record, T]]:
    """What is made of the records, in their order; images that cannot be read are added to ``failed``."""
    if progress is not None:
        progress.start(len(records), 0)
    workers = min(8, os.cpu_count() or 1)
    for record, future in prefetch_map(make, records, workers=workers, depth=2 * workers):
        try:
            card = future.result()
        except ImageError as error:
            failed.append((record.id, str(error)))
        else:
            yield record, card
        if progress is not None:
            progress.step()
