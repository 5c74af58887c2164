"""The samples of a dataset: a million of them take about 100 MB, because a sample is built when it is asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..io.source import Source, location
from .lazy import Lazy, Mapped, Rows


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset.

    Attributes:
        id: name of the image within its dataset, ``/`` between folders, without suffix.
        image: path of the image file; None if the image is drawn, or has no path.
        labels: foreground indices (0-based, ascending) of the image-level labels; None if unknown.
        mask: path of the ground-truth label map; None if there is none or it is drawn or rasterised.
        source: where the image is read from if it has no path: a member of a tar, or a file behind a URL.
    """

    id: str
    image: Path | None = None
    labels: tuple[int, ...] | None = None
    mask: Path | None = None
    source: Source | None = None

    @property
    def file(self) -> Path | Source | None:
        """What the image is read from; None if it is drawn."""
        return self.image or self.source


class Files(Lazy[Path | None]):
    """Files below a folder, by their relative or absolute paths; an empty one is None."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def at(self, i: int) -> Path | None:
        path = self.path(i)
        return Path(path) if path else None

    def path(self, i: int) -> str:
        """The path as a text, empty without a file: much faster than a ``Path``."""
        name = self.names[i]
        return os.path.join(self.folder, name) if name else ""


class Places(Lazy[Path | Source]):
    """Files by their URLs, or by their paths: relative to a folder, which may be behind a URL, or absolute."""

    def __init__(self, folder: Path | Source, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self._local = str(folder) if isinstance(folder, Path) else ""

    def __len__(self) -> int:
        return len(self.names)

    def at(self, i: int) -> Path | Source:
        name = self.names[i]
        if "://" in name:
            return location(name)
        return Path(os.path.join(self.folder, name)) if isinstance(self.folder, Path) else self.folder / name

    def path(self, i: int) -> str:
        """The path as a text, empty for a URL: much faster than a ``Path``."""
        name = self.names[i]
        if self._local and "://" not in name:
            return os.path.join(self._local, name)
        place = self[i]
        return "" if isinstance(place, Source) else str(place)


class LabelColumn(Lazy[tuple[int, ...] | None]):
    """Image-level labels of images in order; None where they are unknown."""

    def __init__(self, rows: Iterable[tuple[int, ...] | None] = ()) -> None:
        self._classes, self._ends, self._known = array("H"), array("q", [0]), bytearray()
        for row in rows:
            self.append(row)

    def append(self, row: tuple[int, ...] | None) -> None:
        """Add the labels of an image at the end."""
        self._classes.extend(row or ())
        self._ends.append(len(self._classes))
        self._known.append(row is not None)

    def __len__(self) -> int:
        return len(self._known)

    def at(self, i: int) -> tuple[int, ...] | None:
        return tuple(self._classes[self._ends[i] : self._ends[i + 1]]) if self._known[i] else None

    @property
    def unknown(self) -> int:
        """Number of images whose labels are unknown."""
        return self._known.count(0)


class FileSamples(Lazy[Sample]):
    """Samples whose images, and label maps if there are any, are read."""

    def __init__(self, ids: Sequence[str], images: Sequence[Path | Source | None], masks: Files | None = None) -> None:
        self.ids, self.images, self.masks = ids, images, masks

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, i: int) -> Sample:
        image, mask = self.images[i], None if self.masks is None else self.masks[i]
        if isinstance(image, Source):
            return Sample(self.ids[i], mask=mask, source=image)
        return Sample(self.ids[i], image, mask=mask)


class Labelled(Lazy[Sample]):
    """Samples with other image-level labels than their own."""

    def __init__(self, samples: Sequence[Sample], labels: LabelColumn) -> None:
        self.samples, self.labels = samples, labels

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, i: int) -> Sample:
        return replace(self.samples[i], labels=self.labels[i])


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str: ...


def ids_of(samples: Sequence[Named]) -> Sequence[str]:
    """The ids of samples in order, without building the samples where that can be avoided."""
    if isinstance(samples, FileSamples):
        return samples.ids
    if isinstance(samples, Labelled):
        return ids_of(samples.samples)
    if isinstance(samples, Rows):
        return Rows(ids_of(samples.items), samples.positions)
    return [sample.id for sample in samples]


def paths_of(samples: Sequence[Sample]) -> Sequence[str]:
    """The paths of image files in order, empty where there is none; like ``ids_of``."""
    if isinstance(samples, FileSamples):
        images = samples.images
        return Mapped(len(images), images.path if isinstance(images, Files | Places) else lambda i: _path(images[i]))
    if isinstance(samples, Labelled):
        return paths_of(samples.samples)
    if isinstance(samples, Rows):
        return Rows(paths_of(samples.items), samples.positions)
    return Mapped(len(samples), lambda i: _path(samples[i].image))


def _path(image: Path | Source | None) -> str:
    return str(image) if isinstance(image, Path) else ""


def labels_of(samples: Sequence[Sample]) -> Sequence[tuple[int, ...] | None]:
    """The image-level labels of samples in order; like ``ids_of``."""
    if isinstance(samples, FileSamples):
        return Mapped(len(samples), lambda _: None)
    if isinstance(samples, Labelled):
        return samples.labels
    if isinstance(samples, Rows):
        return Rows(labels_of(samples.items), samples.positions)
    return Mapped(len(samples), lambda i: samples[i].labels)


def has_masks(samples: Sequence[Sample]) -> bool:
    """Whether every sample has the file of a label map, without building the samples where that can be avoided."""
    if isinstance(samples, FileSamples):
        return samples.masks is not None and all(samples.masks.names)
    if isinstance(samples, Labelled):
        return has_masks(samples.samples)
    return all(sample.mask is not None for sample in samples)
