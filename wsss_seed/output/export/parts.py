"""Parts of an export and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...data.classes import IGNORE
from ...data.images import fitting_suffix, read_labels, read_rgb
from ...errors import ImageError
from ...io.files import write_bytes
from ...io.prefetch import prefetch_map
from ..run_folder import place_image

if TYPE_CHECKING:
    from ...io.progress import Reporter


@dataclass(frozen=True)
class Entry:
    """One image to be exported: id and paths of image and label map."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Picture:
    """One image as read.

    Attributes:
        entry: its source.
        name: the id as a file name without folders; unique within a part.
        image: uint8 (H, W, 3).
        labels: uint8 (H, W); 0 background, 1..K classes, 255 ignore.
        copy: whether to copy files instead of linking them.
    """

    entry: Entry
    name: str
    image: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    copy: bool

    @property
    def suffix(self) -> str:
        """The suffix that matches the content of the image file; in a run folder all are named ``.jpg``."""
        return fitting_suffix(self.entry.image)

    def put_image(self, path: Path) -> None:
        """Link or copy the image; a file that readers would treat differently becomes a PNG. Raises OSError."""
        place_image(path, self.entry.image.resolve(), self.image)
        if self.copy and (path.is_symlink() or path.stat().st_nlink > 1):
            write_bytes(path, path.read_bytes())

    def put_mask(self, path: Path) -> None:
        """Copy the label map. Raises OSError."""
        write_bytes(path, self.entry.mask.read_bytes())


class Part:
    """The pictures of one split, read while iterating. Invalid ones are skipped and listed.

    Args:
        name: ``train`` or ``val``.
        entries: images of the split.
        classes: number of classes, background included.
        copy: whether to copy images instead of linking them.
        progress: progress display.

    Attributes:
        done: ids yielded so far.
        failed: id and error of skipped images.
    """

    def __init__(
        self, name: str, entries: Sequence[Entry], classes: int, copy: bool, progress: Reporter | None
    ) -> None:
        self.name, self.entries = name, entries
        self.done: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self._classes, self._copy, self._progress = classes, copy, progress

    def __iter__(self) -> Iterator[Picture]:
        names = flat_names([entry.id for entry in self.entries])
        for entry, picture in prefetch_map(lambda e: self._read(e, names[e.id]), self.entries, workers=2, depth=4):
            try:
                read = picture.result()
            except ImageError as error:
                self.failed.append((entry.id, str(error)))
            else:
                yield read
                self.done.append(entry.id)
            if self._progress is not None:
                self._progress.step()

    def _read(self, entry: Entry, name: str) -> Picture:
        image, labels = read_rgb(entry.image), read_labels(entry.mask)
        if labels.shape != image.shape[:2]:
            sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (labels.shape, image.shape))
            raise ImageError(f"{entry.mask}: {sizes} pixels in the image; make the mask again")
        beyond = labels[(labels >= self._classes) & (labels != IGNORE)]
        if beyond.size:
            raise ImageError(f"{entry.mask}: has the value {beyond[0]}, but there are {self._classes} classes")
        return Picture(entry, name, image, labels, self._copy)


def flat_names(ids: Iterable[str]) -> dict[str, str]:
    """Ids as file names without folders: ``a/b`` becomes ``a__b``, with a number appended if that is taken.

    Because in some formats folders named ``test`` or ``images`` have a special meaning.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for id in ids:
        name = plain = id.replace("/", "__")
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}~{number}"
        names[id] = name
        taken.add(name)
    return names
