"""Reading of run folders: finished, failed and missing images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.base import Dataset
from ..data.classes import ClassSet, read_names, voc_palette
from ..data.corrections import Corrections
from ..data.images import read_labels, read_palette
from ..data.lazy import Mapped, Texts
from ..data.voc_layout import CLASSES, LISTS, Layout, layout_of_run
from ..errors import ImageError, RunFolderError
from ..evaluation.evaluate import ground_truth
from ..io.files import names_in
from ..io.source import Location
from .identity import class_set_from_content
from .manifest import Manifest, Record
from .run_folder import confidence_path, existing_run, fingerprint, image_path, mask_path, run_orientation


@dataclass(frozen=True)
class FinishedRun:
    """The images of a run folder.

    Attributes:
        path: the folder.
        about: contents of ``run.json``.
        split: name of the list.
        names: classes by label, background first.
        palette: 256 RGB colours of the masks.
        layout: how files are named.
        records: records of the images with a mask that was not rejected, in the order of the run, each read on access.
        failed: records of the images without one.
        unfinished: number of images not processed yet; None if unknown, because the run is in progress or was killed.
        corrections: the corrections that apply; None to read the masks as they were generated.
    """

    path: Path
    about: Mapping[str, Any]
    split: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    layout: Layout
    records: Sequence[Record]
    failed: tuple[Record, ...]
    unfinished: int | None
    corrections: Corrections | None = None

    def mask(self, id: str) -> Path:
        """Path of the label map in use: the corrected one, or the run's own."""
        own = mask_path(self.path, id, self.layout)
        return own if self.corrections is None else self.corrections.mask(id, own)

    def confidence(self, id: str) -> np.ndarray:
        """Confidence of the label map in use, uint8 (H, W): 255 where a person decided. Raises ImageError."""
        values = read_labels(confidence_path(self.path, id, self.layout))
        return values if self.corrections is None else self.corrections.confidence(id, values)

    @property
    def gaps(self) -> str:
        """What the run lacks, in words; empty if it is complete."""
        parts = [f"{len(self.failed)} failed"] if self.failed else []
        if self.about.get("finished") is None:
            parts.append("it is in progress or was interrupted")
        elif self.unfinished:
            parts.append(f"{self.unfinished} have not been processed yet")
        return ", ".join(parts)


def open_run(path: Path, *, corrected: bool = True) -> FinishedRun:
    """Read a run folder, whether its run is finished, in progress or was killed.

    Args:
        path: the folder.
        corrected: use corrected masks, and leave out rejected images.

    Raises:
        WsssError: not a run folder, another layout, damaged corrections, or no masks.
    """
    about = existing_run(path)
    names = read_names(path / CLASSES)
    corrections = Corrections(path) if corrected else None
    rejected = frozenset[str]() if corrections is None else corrections.rejected
    try:
        manifest = Manifest(path)
    except OSError as error:
        raise RunFolderError(f"{path}: its manifest cannot be read ({error.strerror})") from None
    own = fingerprint(about["settings"])
    layout = layout_of_run(about)
    done, failed, dropped = Texts(), list[Record](), 0
    for record in manifest.outlines():
        if record.settings != own:
            continue
        if record.status != "ok":
            failed.append(manifest[record.id])
        elif record.id in rejected:
            dropped += 1
        elif all(os.path.exists(place(path, record.id, layout)) for place in (mask_path, image_path)):
            done.append(record.id)
    if not done:
        if dropped:
            raise RunFolderError(f"{path}: all {dropped} finished masks were rejected in review")
        raise RunFolderError(f"{path}: no finished masks; run generate or predict first")
    total = (about.get("totals") or {}).get("images")
    return FinishedRun(
        path=path,
        about=about,
        split=list_name(path, about),
        names=names,
        palette=palette_of(mask_path(path, done[0], layout)),
        layout=layout,
        records=Mapped(len(done), lambda i: manifest[done[i]]),
        failed=tuple(failed),
        unfinished=None if total is None else max(0, total - len(done) - len(failed) - dropped),
        corrections=corrections,
    )


def truth_for(run: FinishedRun, truth: Dataset | Path) -> Callable[[str], np.ndarray]:
    """A function for the ground truth of an id, uint8 (H, W), in the orientation of the masks; raises ImageError.

    Args:
        run: the run.
        truth: a dataset, or a folder of index PNGs.

    Raises:
        WsssError: no such folder, or a dataset with other classes.
    """
    if isinstance(truth, Dataset) and ("background", *truth.class_set.names) != run.names:
        raise RunFolderError(
            f"{truth.name}: has other classes than {run.path} ({', '.join(run.names[:8])}); give `classes`"
        )
    return ground_truth(truth, run_orientation(run.path))[0]


def classes_of(path: Location, about: Mapping[str, Any], purpose: str) -> ClassSet:
    """The class set of a run folder, from the contents of its ``run.json``.

    Raises RunFolderError, naming the purpose, if that has none.
    """
    try:
        return class_set_from_content(about["settings"]["class_set"], "")
    except (KeyError, TypeError, ValueError, AttributeError):
        needs = f"{purpose} needs a run of generate"
        raise RunFolderError(f"{path}: run.json does not say which classes; {needs}") from None


def list_name(path: Location, about: Mapping[str, Any]) -> str:
    """Name of the list of a run folder, from the contents of its ``run.json``."""
    dataset = about["settings"].get("dataset")
    named = dataset.get("split") if isinstance(dataset, dict) else None
    lists = [name.removesuffix(".txt") for name in names_in(path / LISTS / "Segmentation") if name.endswith(".txt")]
    return str(named or (lists[0] if len(lists) == 1 else "all"))


def palette_of(mask: Path) -> tuple[tuple[int, int, int], ...]:
    """The palette of the class set, which a run stores only in its masks."""
    try:
        given = read_palette(mask)
    except ImageError:  # the damaged mask itself is reported when it is read
        given = []
    return (*given, *voc_palette()[len(given) :])
