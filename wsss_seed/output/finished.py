"""A run folder as its readers see it: what is finished, what failed, what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ..data.classes import read_names, voc_palette
from ..data.images import read_palette
from ..data.voc_layout import CLASSES, LISTS
from ..errors import ImageError, RunFolderError
from .manifest import Manifest, Record
from .run_folder import fingerprint, image_path, mask_path, read_run


@dataclass(frozen=True)
class FinishedRun:
    """The images of a run folder.

    Attributes:
        path: the folder.
        about: what ``run.json`` says.
        split: name of its list.
        names: the classes by label, background first.
        palette: 256 RGB colours, those of its masks.
        records: of the images that have a mask, in the run's order, each read when it is asked for.
        failed: records of the images that have none.
        unfinished: how many images of the dataset the run has not come to; None where that is not known: while it is
            under way, or after it was killed.
    """

    path: Path
    about: Mapping[str, Any]
    split: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    records: Sequence[Record]
    failed: tuple[Record, ...]
    unfinished: int | None

    @property
    def gaps(self) -> str:
        """What the run lacks, in words; empty where it is whole."""
        parts = [f"{len(self.failed)} failed"] if self.failed else []
        if self.about.get("finished") is None:
            parts.append("it is under way or was broken off")
        elif self.unfinished:
            parts.append(f"{self.unfinished} have not been done yet")
        return ", ".join(parts)


def open_run(path: Path) -> FinishedRun:
    """Read a run folder, whether its run is over, under way or was killed.

    Raises:
        WsssError: no run folder, one of another layout, or one without a single mask.
    """
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; give the folder of a run")
    about = read_run(path)
    if about is None:
        raise RunFolderError(f"{path}: not a run folder (it has no run.json); give what generate or predict wrote")
    try:
        manifest = Manifest(path)
    except OSError as error:
        raise RunFolderError(f"{path}: its manifest cannot be read ({error.strerror})") from None
    own = fingerprint(about["settings"])
    done: list[str] = []
    failed: list[Record] = []
    for record in manifest.values():
        if record.settings != own:
            continue
        if record.status != "ok":
            failed.append(record)
        elif os.path.exists(mask_path(path, record.id)) and os.path.exists(image_path(path, record.id)):
            done.append(record.id)
    if not done:
        raise RunFolderError(f"{path}: no finished mask with its image; let the run make some first")
    total = (about.get("totals") or {}).get("images")
    return FinishedRun(
        path=path,
        about=about,
        split=_split(path, about),
        names=read_names(path / CLASSES),
        palette=_palette(mask_path(path, done[0])),
        records=_Records(manifest, done),
        failed=tuple(failed),
        unfinished=None if total is None else max(0, total - len(done) - len(failed)),
    )


class _Records(Sequence[Record]):
    """Some records of a manifest in order."""

    def __init__(self, manifest: Manifest, ids: Sequence[str]) -> None:
        self._manifest, self._ids = manifest, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Record]:
        return (self._manifest[id] for id in self._ids)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> _Records: ...
    def __getitem__(self, index: int | slice) -> Record | _Records:
        found = self._ids[index]
        return self._manifest[found] if isinstance(found, str) else _Records(self._manifest, found)


def _split(path: Path, about: Mapping[str, Any]) -> str:
    dataset = about["settings"].get("dataset")
    named = dataset.get("split") if isinstance(dataset, dict) else None
    lists = sorted((path / LISTS / "Segmentation").glob("*.txt"))
    return str(named or (lists[0].stem if len(lists) == 1 else "all"))


def _palette(mask: Path) -> tuple[tuple[int, int, int], ...]:
    """The class set's palette, which a run keeps in its masks only."""
    try:
        given = read_palette(mask)
    except ImageError:  # the damaged mask itself is reported when its turn comes
        given = []
    return (*given, *voc_palette()[len(given) :])
