"""Copying a run folder from object storage, for everything that works on local runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..data.images import content, read_orientation, read_rgb, reads_alike
from ..data.orientation import turn
from ..data.voc_layout import CLASSES, LISTS, RUN, Layout, layout_of_run
from ..errors import ImageError, RunFolderError
from ..io.files import names_in, write_bytes, write_json, write_lines
from ..io.prefetch import prefetch_map
from ..io.progress import Reporter
from ..io.source import Source, location
from ..io.stamp import Stamp
from .dataset_card import read_card, write_card
from .manifest import MANIFEST, Manifest, Record
from .run_folder import (
    confidence_path,
    existing_run,
    image_path,
    mask_path,
    new_or_run,
    place_image,
    settings_difference,
    write_error,
)

WORKERS = 8


@dataclass(frozen=True)
class Fetched:
    """A copy of a run.

    Attributes:
        folder: the copy.
        copied: number of masks that were copied.
        skipped: number of masks that an earlier copy has.
        bare: ids of masks whose image is not where the run says; ``report`` and ``export`` leave them out.
        failed: number of images that have no mask in the run.
    """

    folder: Path
    copied: int
    skipped: int
    bare: tuple[str, ...]
    failed: int


def fetch(run: Source, folder: Path, progress: Reporter | None = None) -> Fetched:
    """Copy the masks, confidence maps and records of a run, and link or copy its images from where they lie.

    An interrupted copy resumes: files that are there, with the content that the run recorded, are not copied again.

    Args:
        run: the run folder.
        folder: where to; missing, empty, or a copy of this run.
        progress: receives the progress.

    Raises:
        RunFolderError: not a run folder, one that is in progress or cannot be read, or the folder has something else
            or cannot be written.
    """
    about = existing_run(run)
    if about.get("finished") is None:
        raise RunFolderError(f"{run}: the run is in progress or was killed; let it end, or merge it first")
    former = new_or_run(folder)
    difference = "" if former is None else settings_difference(former.get("settings"), about["settings"])
    if difference:
        raise RunFolderError(f"{folder}: has a run with other settings: {difference}; choose another folder")
    upright, layout = about["settings"].get("orientation") == "upright", layout_of_run(about)
    counts = {"copied": 0, "skipped": 0, "failed": 0}
    bare: list[str] = []

    def copy(record: Record) -> tuple[Record, bool, bool]:
        if record.status != "ok":
            return record, False, True
        mask = mask_path(folder, record.id, layout)
        copied = not _has(mask, record)
        if copied:
            write_bytes(mask, mask_path(run, record.id, layout).read_bytes())
        confidence = confidence_path(folder, record.id, layout)
        if copied or not confidence.exists():
            write_bytes(confidence, confidence_path(run, record.id, layout).read_bytes())
        if record.mask is not None:
            record = msgspec.structs.replace(record, mask=Stamp.of_written(mask, record.mask.sha256))
        return record, copied, _place(record, run, folder, layout, upright)

    def lines(manifest: Manifest) -> Iterator[bytes]:
        with closing(prefetch_map(copy, manifest.values(), workers=WORKERS, depth=4 * WORKERS)) as copies:
            for _, result in copies:
                record, copied, placed = result.result()
                counts["failed" if record.status != "ok" else "copied" if copied else "skipped"] += 1
                if not placed:
                    bare.append(record.id)
                if progress is not None:
                    progress.step(failed=False)
                yield record.to_line()

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RUN, about | {"finished": None})  # until all files below are written
        with Manifest(run) as manifest:
            if progress is not None:
                progress.start(len(manifest), 0)
            write_lines(folder / MANIFEST, lines(manifest))
        for name in (CLASSES, *(f"{LISTS}/Segmentation/{name}" for name in names_in(run / LISTS / "Segmentation"))):
            write_bytes(folder / name, (run / name).read_bytes())
        write_json(folder / RUN, about)
        card = read_card(run)
        if card is not None:
            write_card(folder, card)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        if progress is not None:
            progress.stop()
    return Fetched(folder, bare=tuple(bare), **counts)


def _has(mask: Path, record: Record) -> bool:
    try:
        return record.mask is not None and record.mask.fits(mask, read=True)
    except OSError:
        return False


def _place(record: Record, run: Source, folder: Path, layout: Layout, upright: bool) -> bool:
    """Link or copy the image of a record; whether that was possible."""
    path = image_path(folder, record.id, layout)
    if os.path.lexists(path):
        return True
    source: Any = image_path(run, record.id, layout) if record.source is None else location(record.source)
    try:
        image = read_rgb(source)
        if upright:
            image = turn(image, read_orientation(source))
        if isinstance(source, Source) and reads_alike(source, (image.shape[1], image.shape[0])):
            place_image(path, content(source), image)
        else:
            place_image(path, source if isinstance(source, Path) else None, image)
    except ImageError:
        return False
    return True
