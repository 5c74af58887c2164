"""Listing of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from .images import REMEDIES, SUFFIXES


def image_files(folder: Path, others: Counter[str] | None = None) -> Iterator[tuple[str, str]]:
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


def index_images(folder: Path) -> dict[str, list[str]]:
    """The images below a folder: id -> relative paths, several if file names differ in their suffix only.

    Raises:
        WsssError: as ``image_files``.
    """
    files: dict[str, list[str]] = {}
    for id, file in image_files(folder):
        files.setdefault(id, []).append(file)
    return files


def only_file(folder: Path, files: Sequence[str]) -> Path:
    """The file of an id in ``index_images``.

    Raises:
        WsssError: there is more than one.
    """
    if len(files) > 1:
        raise DataError(f"{folder}: {files[0]} and {files[1]} have the same id; rename or remove one of them")
    return folder / files[0]


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]], others: Counter[str]) -> Iterator[tuple[str, str]]:
    try:
        info = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as e:
        raise DataError(f"{folder}: cannot be listed ({e.strerror or e})") from None
    if (info.st_dev, info.st_ino) in seen:  # a link to a folder above
        return
    seen.add((info.st_dev, info.st_ino))
    names = {e.name for e in entries}
    if prefix and {"run.json", "SegmentationClass"} <= names:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        stem, suffix = os.path.splitext(entry.name)
        if suffix.casefold() in SUFFIXES:
            yield prefix + stem, prefix + entry.name
        elif entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", seen, others)
        else:
            others[_printable(suffix.casefold())] += 1


def _printable(suffix: str) -> str:
    return suffix if suffix.isprintable() and len(suffix) <= 10 else "other"
