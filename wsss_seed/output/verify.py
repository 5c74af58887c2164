"""Whether a run folder is whole: every finished image has readable files that fit together and its record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.base import Sample
from ..data.classes import IGNORE, read_names
from ..data.corrections import Corrections
from ..data.images import image_size, read_labels
from ..data.lazy import Texts
from ..data.voc_layout import CLASSES, LISTS, MASKS, Layout, file_name, id_of, layout_of_run
from ..errors import ImageError, RunFolderError
from ..io.files import names_in, plain, write_text
from ..io.prefetch import prefetch_map
from ..io.progress import Reporter
from ..io.source import Location, Source
from .finished import classes_of
from .manifest import Manifest, Record
from .run_folder import (
    RunFolder,
    confidence_path,
    existing_run,
    fingerprint,
    image_path,
    mask_path,
    write_error,
)

WORKERS = 4


@dataclass(frozen=True)
class Verified:
    """What was found in a run folder.

    Attributes:
        run: the folder.
        checked: number of images that the run recorded as finished.
        wrong: id and what is wrong with its files.
        edited: ids of masks that were edited after they were made; they count as correct.
        failed: number of images without a mask, which the next run tries again.
        unfinished: number of images not processed yet; None if unknown, because the run is in progress or was killed.
        unknown: masks that the run did not record, relative to the folder of masks.
        queued: ids that ``repair`` queued; they are among ``wrong``.
        corrections: id and what is wrong with its corrected mask, which ``repair`` does not touch.
    """

    run: Location
    checked: int
    wrong: tuple[tuple[str, str], ...]
    edited: tuple[str, ...]
    failed: int
    unfinished: int | None
    unknown: tuple[str, ...]
    queued: tuple[str, ...] = field(default=())
    corrections: tuple[tuple[str, str], ...] = field(default=())

    @property
    def exit_status(self) -> int:
        """0 whole, 1 something is wrong."""
        return 1 if self.wrong or self.corrections else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        values: dict[str, Any] = plain({**vars(self), "run": str(self.run)})
        listed = {"wrong": self.wrong, "corrections": self.corrections}
        return values | {key: [{"id": id, "what": what} for id, what in found] for key, found in listed.items()}


def verify(run: Location, progress: Reporter | None = None) -> Verified:
    """Read every mask, confidence map and image header of a run, and compare them with the manifest, and every
    corrected mask with its digest.

    Args:
        run: a run folder, finished or not; files that a running process adds meanwhile are not judged.
        progress: receives the progress.

    Raises:
        RunFolderError: not a run folder, another layout, damaged corrections, or a manifest that cannot be read.
    """
    about = existing_run(run)
    own, names = fingerprint(about["settings"]), read_names(run / CLASSES)
    wrong: list[tuple[str, str]] = []
    edited: list[str] = []
    checked = failed = 0
    layout = layout_of_run(about)
    masks = Texts(_masks(run))  # before the manifest is read, which a running process extends
    try:
        with Manifest(run) as manifest:
            if progress is not None:
                progress.start(len(manifest), 0)
            records = (record for record in manifest.values() if record.settings == own)

            def judge(record: Record) -> tuple[str | None, bool]:
                return _judge(run, layout, len(names), record) if record.status == "ok" else (None, False)

            with closing(prefetch_map(judge, records, workers=WORKERS, depth=4 * WORKERS)) as judged:
                for record, result in judged:
                    what, was_edited = result.result()
                    checked += record.status == "ok"
                    failed += record.status != "ok"
                    if what is not None:
                        wrong.append((record.id, what))
                    elif was_edited:
                        edited.append(record.id)
                    if progress is not None:
                        progress.step(failed=what is not None)
            unknown = tuple(
                sorted(name for name in masks if not _is_recorded(name.removesuffix(".png"), layout, manifest))
            )
    except OSError as error:
        raise RunFolderError(f"{run}: its manifest cannot be read ({error.strerror or error})") from None
    finally:
        if progress is not None:
            progress.stop()
    total = (about.get("totals") or {}).get("images")
    unfinished = None if total is None else max(0, total - checked - failed)
    return Verified(
        run,
        checked,
        tuple(wrong),
        tuple(edited),
        failed,
        unfinished,
        unknown,
        corrections=tuple(Corrections(run).faults()),
    )


def _is_recorded(name: str, layout: Layout, manifest: Manifest) -> bool:
    id = id_of(name, layout)
    return id in manifest and file_name(id, layout) == name


def _judge(run: Location, layout: Layout, classes: int, record: Record) -> tuple[str | None, bool]:
    """What is wrong with the files of a finished image, None if nothing; and whether its mask was edited.

    Args:
        run: the folder.
        layout: how its files are named.
        classes: number of classes, background included.
        record: of the image.
    """
    mask, confidence = mask_path(run, record.id, layout), confidence_path(run, record.id, layout)
    try:
        labels = read_labels(mask)
        changed = record.mask is not None and not record.mask.fits(mask, read=True)
    except (ImageError, OSError) as error:
        return _short(error, mask, "mask"), False
    height, width = labels.shape
    if record.size is not None and (width, height) != tuple(record.size):
        return f"its mask is {width}x{height}, not {record.size[0]}x{record.size[1]}", False
    beyond = np.unique(labels[(labels >= classes) & (labels != IGNORE)])
    if len(beyond):
        return f"its mask has label {beyond[0]}, beyond the {classes - 1} classes", False
    try:
        if read_labels(confidence).shape != labels.shape:
            return "its confidence map has another size than its mask", False
    except (ImageError, OSError) as error:
        return _short(error, confidence, "confidence map"), False
    if isinstance(run, Source):
        return None, changed  # its image is elsewhere
    image = image_path(run, record.id, layout)
    try:
        size = image_size(image)
    except (ImageError, OSError) as error:
        return _short(error, image, "image"), False
    if size != (width, height):
        return f"its image is {size[0]}x{size[1]}, its mask {width}x{height}", False
    if record.image is not None and image.is_symlink() and not record.image.fits(image.resolve()):
        return "its image has changed since the mask was made", False
    return None, changed


def _short(error: Exception, path: Location, what: str) -> str:
    """What is wrong with a file, without its path."""
    if isinstance(error, FileNotFoundError) or not path.exists():
        if isinstance(path, Path) and path.is_symlink():
            return f"its {what} links to {os.readlink(path)}, which does not exist"
        return f"its {what} is missing"
    text = str(error).removeprefix(f"{path}: ")
    return f"its {what} cannot be used: {text}"


def _masks(run: Location) -> Iterator[str]:
    """The files in the folder of masks, relative to it."""
    if isinstance(run, Source):
        yield from (name for name in (run / MASKS).files() if name.endswith(".png"))
        return
    for folder, _, files in os.walk(run / MASKS):
        inner = Path(folder).relative_to(run / MASKS)
        prefix = f"{inner.as_posix()}/" if inner.parts else ""
        for name in files:
            if name.endswith(".png"):
                yield prefix + name


def repair(found: Verified) -> Verified:
    """Queue what is wrong: these images lose their masks and are seeded again by the next run.

    Nothing is queued twice, and a kill leaves a run folder that can be repaired again.

    Raises:
        RunFolderError: another process is writing to the run, or the folder cannot be written.
    """
    if not found.wrong:
        return found
    run, about = found.run, existing_run(found.run)
    class_set = classes_of(run, about, "repair")
    queued = [id for id, _ in found.wrong]
    try:
        with RunFolder(run, class_set, about["settings"], alone=True) as folder:
            _unlist(run, [file_name(id, folder.layout) for id in queued])  # first: a listed image must have a mask
            for id, what in found.wrong:
                folder.fail(Sample(id), f"queued again by verify: {what}", 0.0)
    except OSError as error:
        raise write_error(run, error) from error
    return replace(found, queued=tuple(queued))


def _unlist(run: Location, names: Sequence[str]) -> None:
    """Remove images from the lists of the run."""
    gone = set(names)
    lists = run / LISTS / "Segmentation"
    for name in names_in(lists):
        path = lists / name
        kept = [line for line in path.read_bytes().decode().splitlines() if line not in gone]
        write_text(path, "".join(f"{line}\n" for line in kept))
