"""Contact sheet of a run: some of its images with their masks and confidence, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..data.base import Dataset
from ..data.classes import IGNORE
from ..data.images import read_labels, read_rgb
from ..data.selection import select
from ..errors import ImageError, RunFolderError, UsageError
from ..io.files import write_bytes
from ..io.font import font_for
from ..io.legend import class_legend, printable, without_beginning
from ..io.overlay import IGNORE_COLOUR, overlay
from ..io.prefetch import prefetch_map
from .finished import FinishedRun, open_run, truth_for
from .run_folder import image_path
from .truth import own_truth

LIMIT = 24
"""Number of images by default."""

MOST = 400
"""Largest number of images; the sheet has about 25 MB then. The report is for more."""

_COLUMNS, _SIDE, _GAP = 8, 184, 8
_OPACITY = 0.65
_HEADINGS, _LINE = 104, 22  # width of the headings of the rows, height of a line of text

TruthOf = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Sheet:
    """Summary of a contact sheet.

    Attributes:
        out: the PNG.
        shown: ids of its images, in order.
        names: the classes in their masks or ground truth, in label order.
        failed: id and error of images that could not be read.
        gaps: what the run lacks, in words; empty if it is complete.
    """

    out: Path
    shown: tuple[str, ...]
    names: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    gaps: str

    @property
    def exit_status(self) -> int:
        """0 success, 1 some images could not be read."""
        return 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "out": str(self.out),
            "shown": list(self.shown),
            "classes": list(self.names),
            "failed": [{"id": name, "error": error} for name, error in self.failed],
            "gaps": self.gaps,
        }


def sheet(
    run: Path,
    out: Path | None = None,
    *,
    truth: Dataset | Path | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    corrected: bool = True,
) -> Sheet:
    """Draw a contact sheet: per image its name, the image, ground truth, the mask over the grey image, and the
    confidence (white is 1), eight images side by side, under a legend of the classes.

    Args:
        run: the run folder, which has its images.
        out: the PNG; ``sheet.png`` in the run folder by default.
        truth: a dataset, or a folder of index PNGs; that of toyland is drawn again and need not be given.
        limit: show the first images, by default 24 of them.
        sample: show this many random images instead.
        seed: random seed of ``sample``.
        corrected: show corrected masks, and leave out rejected images.

    Raises:
        WsssError: no run, no image that can be shown, ground truth of other classes, more than 400 images, or a file
            that cannot be written.
    """
    source = open_run(run, corrected=corrected)
    out = out or run / "sheet.png"
    if out.is_dir() or out.suffix.casefold() != ".png":
        raise UsageError(f"{out}: a contact sheet is a PNG; give `out` a name that ends in .png")
    if (limit or sample or 0) > MOST:
        raise UsageError(f"a contact sheet shows at most {MOST} images; the report shows more")
    truth = own_truth(source) if truth is None else truth
    truth_of = None if truth is None else truth_for(source, truth)
    records = select(source.records, LIMIT if limit is None and sample is None else limit, sample, seed)
    columns: list[_Column] = []
    failed: list[tuple[str, str]] = []
    ids = [record.id for record in records]
    with closing(prefetch_map(lambda id: _read(source, id, truth_of), ids, workers=2, depth=4)) as read:
        for id, column in read:
            try:
                columns.append(column.result())
            except ImageError as error:
                failed.append((id, str(error)))
    if not columns:
        raise RunFolderError(f"{failed[0][1]} (none of {len(failed)} images can be shown)")
    labels = sorted(set().union(*(column.labels for column in columns)))
    buffer = io.BytesIO()
    _draw(source, columns, labels).save(buffer, "PNG", optimize=True)
    try:
        write_bytes(out, buffer.getvalue())
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written ({error.strerror or error}); choose another `out`") from error
    return Sheet(
        out=out,
        shown=tuple(column.id for column in columns),
        names=tuple(source.names[label] for label in labels if 0 < label < IGNORE),
        failed=tuple(failed),
        gaps=source.gaps,
    )


@dataclass(frozen=True)
class _Column:
    """One image with its cells, from top to bottom, and the labels in its maps."""

    id: str
    cells: tuple[Image.Image, ...]
    labels: frozenset[int]


def _read(run: FinishedRun, id: str, truth_of: TruthOf | None) -> _Column:
    """Read the files of an image. Raises ImageError if one cannot be read or their sizes differ."""
    image = read_rgb(image_path(run.path, id, run.layout))
    maps = {"mask": read_labels(run.mask(id))}
    confidence = run.confidence(id)
    if truth_of is not None:
        maps = {"ground truth": truth_of(id), **maps}
    for what, values in (*maps.items(), ("confidence", confidence)):
        if values.shape != image.shape[:2]:
            sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (values.shape, image.shape))
            raise ImageError(f"{id}: {what} of {sizes} pixels in the image")
    small = _fit(Image.fromarray(image), Image.Resampling.LANCZOS)
    grey = np.asarray(small.convert("L").convert("RGB"))  # colours of the image would mix with those of the classes
    overlays = (
        overlay(grey, np.asarray(_fit(Image.fromarray(labels), Image.Resampling.NEAREST)), run.palette, _OPACITY)
        for labels in maps.values()
    )
    certain = _fit(Image.fromarray(confidence), Image.Resampling.BOX).convert("RGB")
    found = frozenset(int(value) for labels in maps.values() for value in np.unique(labels))
    return _Column(id, (small, *overlays, certain), found)


def _fit(picture: Image.Image, how: Image.Resampling) -> Image.Image:
    """A picture reduced to at most _SIDE pixels; small ones keep their size."""
    scale = min(1.0, _SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, how)


def _draw(run: FinishedRun, columns: Sequence[_Column], labels: Sequence[int]) -> Image.Image:
    """The sheet: the legend, then bands of up to eight images with a row for each kind of cell."""
    names = [run.names[label] for label in labels if label < len(run.names)]
    font = font_for(map(printable, (*names, *(column.id for column in columns))), 13)
    rows = ["image", "mask", "confidence"]
    if len(columns[0].cells) > len(rows):
        rows.insert(1, "ground truth")
    bands = [columns[start : start + _COLUMNS] for start in range(0, len(columns), _COLUMNS)]
    heights = [[max(column.cells[row].height for column in band) for row in range(len(rows))] for band in bands]
    width = _HEADINGS + (_SIDE + _GAP) * max(len(bands[0]), 3)
    entries = [(run.palette[label], run.names[label]) for label in labels if 0 < label < len(run.names)]
    entries += [(IGNORE_COLOUR, "ignored")] if IGNORE in labels else []
    legend = class_legend(entries, width, font)
    height = legend.height + sum(_LINE + sum(h + _GAP for h in band) + 2 * _GAP for band in heights)
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(legend, (0, 0))
    canvas = ImageDraw.Draw(picture)
    y = legend.height
    for band, tall in zip(bands, heights, strict=True):
        for place, column in enumerate(band):
            middle = _HEADINGS + place * (_SIDE + _GAP) + _SIDE // 2
            canvas.text((middle, y + _LINE // 2), without_beginning(column.id, font, _SIDE), "black", font, anchor="mm")
        y += _LINE
        for row, (title, h) in enumerate(zip(rows, tall, strict=True)):
            canvas.text((_GAP, y + h // 2), title, "#555555", font, anchor="lm")
            for place, column in enumerate(band):
                cell = column.cells[row]
                left = _HEADINGS + place * (_SIDE + _GAP)
                corner = left + (_SIDE - cell.width) // 2, y + (h - cell.height) // 2
                picture.paste(cell, corner)
                end = corner[0] + cell.width, corner[1] + cell.height
                canvas.rectangle((corner[0] - 1, corner[1] - 1, *end), outline="#bbbbbb")
            y += h + _GAP
        y += 2 * _GAP
    return picture
