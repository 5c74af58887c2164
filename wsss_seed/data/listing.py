"""Listing of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import DataError
from ..io.source import Source
from .images import REMEDIES, SUFFIXES
from .lazy import Index, Texts

_SUFFIXES = frozenset(SUFFIXES)


def image_files(folder: Path | Source, others: Counter[str] | None = None) -> Iterator[tuple[str, str]]:
    """The images below a folder in sorted order: relative path without suffix, and with.

    Hidden files and folders are skipped, and so are run folders, so that the masks of a run never become its images.
    Links are followed. Everything with an image suffix counts: a folder named ``x.jpg`` is listed, not entered, so that
    reading it reports the problem.

    Args:
        folder: the folder.
        others: counts the files that are passed over, by suffix in lower case.

    Raises:
        WsssError: the folder cannot be listed.
    """
    return _walk(folder, "", set(), Counter() if others is None else others)


def passed_over(others: Mapping[str, int]) -> str:
    """The files that ``image_files`` passed over, in words, with the remedy for images; empty if there are none."""
    if not others:
        return ""
    kinds = sorted(others, key=lambda suffix: (suffix not in REMEDIES, -others[suffix], suffix))
    parts = [
        f"{others[suffix]} {suffix or 'without suffix'}"
        + (f" (to read them: {REMEDIES[suffix]})" if suffix in REMEDIES else "")
        for suffix in kinds[:8]
    ]
    rest = sum(others[suffix] for suffix in kinds[8:])
    total = sum(others.values())
    more = [f"{rest} of other kinds"] if rest else []
    return f"{total} file{'s' * (total != 1)} passed over: {', '.join([*parts, *more])}"


class Listing:
    """The images below a folder, to be found by id.

    Raises:
        WsssError: as ``image_files``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids, self._files = Texts(), Texts()
        for id, file in image_files(folder):
            self._ids.append(id)
            self._files.append(file)
        self._index = Index(self._ids)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Ids and relative paths, in order of the paths."""
        return zip(self._ids, self._files, strict=True)

    def file(self, id: str) -> str | None:
        """The relative path of the file of an id; None if there is none.

        Raises:
            WsssError: there is more than one.
        """
        files = [self._files[position] for position in self._index.find(id)]
        if len(files) > 1:
            raise DataError(f"{self.folder}: {files[0]} and {files[1]} have the same id; rename or remove one of them")
        return files[0] if files else None


def _walk(
    folder: Path | Source, prefix: str, seen: set[tuple[int, int]], others: Counter[str]
) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    folders: set[str] = set()
    try:
        if isinstance(folder, Path):
            info = folder.stat()
            if (info.st_dev, info.st_ino) in seen:  # a link to a folder above
                return
            seen.add((info.st_dev, info.st_ino))
        for name, is_folder in folder.list() if isinstance(folder, Source) else _entries(folder):
            if not name.startswith("."):
                names.append(name)
                if is_folder:
                    folders.add(name)
    except OSError as e:
        raise DataError(f"{folder}: cannot be listed ({e.strerror or e})") from None
    if prefix and {"run.json", "SegmentationClass"} <= set(names):
        return
    names.sort()
    for name in names:
        suffix = _suffix(name)
        if suffix in _SUFFIXES:
            file = prefix + name
            yield file[: -len(suffix)], file
        elif name in folders:
            yield from _walk(folder / name, f"{prefix}{name}/", seen, others)
        else:
            others[_printable(suffix)] += 1


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Names in a folder, and whether they are folders; images, which may be links, are not asked. Raises OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, _suffix(entry.name) not in _SUFFIXES and entry.is_dir()


def _suffix(name: str) -> str:
    """The suffix of a name that does not begin with a dot, in lower case; empty if it has none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _printable(suffix: str) -> str:
    return suffix if suffix.isprintable() and len(suffix) <= 10 else "other"
