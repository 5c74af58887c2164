"""Lists of images: a path or URL per line of a text file, or per row of a CSV or parquet file.

CSV (``.csv``, ``.tsv``) and parquet have a column ``path`` and may have ``id`` and ``labels``; other usual names of
these columns are known too. In a list without ids, the id of an image is its path below the folder, without suffix; of
an image elsewhere, its absolute path or the path of its URL. Labels are written as in a file of image-level labels, in
parquet also as lists; an empty text is no class, a null of parquet unknown.
"""

from __future__ import annotations

import csv
import os
import posixpath
from array import array
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import DataError, one_line, unknown_name
from ..io.extras import install_command
from ..io.source import Source, is_url, location, redacted
from ..io.text import read_bytes, read_lines, read_text
from .base import Dataset
from .classes import ClassSet
from .ids import check_ids
from .images import SUFFIXES
from .labels import LABEL_COLUMNS, label_indices
from .lazy import Texts
from .samples import FileSamples, LabelColumn, Labelled, Places

SUFFIXES_OF_LISTS = (".txt", ".csv", ".tsv", ".parquet")

_PATHS = ("path", "url", "uri", "image", "image_path", "file", "filename", "file_name")
_IDS = ("id", "image_id", "key")
_NAMED = 5  # rows without an image that are named


class _Row(NamedTuple):
    number: int
    path: str
    id: str
    labels: Any


class Listed(Dataset):
    """The images of a list, in its order.

    Rows without a path, or whose file is missing, are left out; ``passed_over`` counts and names them. Whether files
    behind URLs exist is not checked: they fail individually.

    Args:
        file: the list.
        root: folder of relative paths; that of the list by default.
        class_set: the classes.

    Raises:
        WsssError: an unreadable list, no image in it, an id that is invalid or repeated, or an unknown label.
    """

    name = "folder"
    split = "all"

    def __init__(self, file: Path | Source, root: Path | Source | None, class_set: ClassSet) -> None:
        self.class_set = class_set
        self._file = file
        folder = file.parent if root is None else root
        unit = "line" if file.suffix.casefold() == ".txt" else "row"
        ids, paths, numbers, labels = Texts(), Texts(), array("q"), LabelColumn()
        known: dict[str, tuple[int, ...]] = {}  # most rows have labels seen before
        missing, named = 0, list[str]()
        labelled = False
        for row in _rows(file):
            if not row.path or _is_missing(row.path, folder):
                missing += 1
                if missing <= _NAMED:
                    named.append(f"{unit} {row.number}" + f": {redacted(row.path)}" * bool(row.path))
                continue
            ids.append(row.id or _id(row.path, folder))
            paths.append(row.path)
            numbers.append(row.number)
            labelled |= row.labels is not None
            found = None if row.labels is None else known.get(repr(row.labels))
            if found is None and row.labels is not None:
                found = known[repr(row.labels)] = label_indices(row.labels, class_set, f"{file}, {unit} {row.number}")
            labels.append(found)
        if missing:
            rows = f"1 {unit} has" if missing == 1 else f"{missing} {unit}s have"
            shown = ", ".join(named) + ", ..." * (missing > _NAMED)
            self.passed_over = f"{file}: {rows} no image ({shown})"
        if not ids:
            raise DataError(
                f"{self.passed_over}; relative paths are below {folder}, or `root`" if missing else f"{file}: no image"
            )
        check_ids(ids, lambda i: f"{file}, {unit} {numbers[i]}")
        self.samples = FileSamples(ids, Places(folder, paths))
        if labelled:
            self.samples = Labelled(self.samples, labels)
            self.labels_source = str(file.resolve())

    @property
    def title(self) -> str:
        """The list as the user named it."""
        return f"list {self._file.name}"


def _is_missing(path: str, folder: Path | Source) -> bool:
    """Whether there is no such local file."""
    if is_url(path):
        place = location(path)
        return isinstance(place, Path) and not place.is_file()
    return isinstance(folder, Path) and not os.path.isfile(os.path.join(folder, path))


def _id(path: str, folder: Path | Source) -> str:
    """The path below the folder, or else of the root or the host, without the suffix of an image."""
    if is_url(path) and not isinstance(location(path), Path):
        base = f"{folder.place}/" if isinstance(folder, Source) else "://"
        if path.startswith(base):
            path = path.removeprefix(base)
        elif path.lower().startswith("http"):
            path = urlsplit(path).path  # without the query
        else:
            path = path.split("://", 1)[1].partition("/")[2]  # keys of object storage may contain ? and #
    else:
        path = str(location(path)).replace(os.sep, "/")
        if isinstance(folder, Path):
            path = path.removeprefix(folder.absolute().as_posix().rstrip("/") + "/")
    path = posixpath.normpath(path).lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.casefold() in SUFFIXES else path


def _rows(file: Path | Source) -> Iterator[_Row]:
    readers = {".txt": _text, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    reader = readers.get(file.suffix.casefold())
    if reader is None:
        raise DataError(f"{file}: {unknown_name('format of list', file.suffix, readers)}")
    return reader(file)


def _text(file: Path | Source) -> Iterator[_Row]:
    return (_Row(number, line, "", None) for number, line in read_lines(file))


def _csv(file: Path | Source) -> Iterator[_Row]:
    text = read_text(file)
    header = text.partition("\n")[0]
    delimiter = max(",", "\t", ";", key=header.count)
    rows = csv.reader(StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    try:
        titles = next(rows, [])
        columns = _columns(titles, file)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(titles):
                raise DataError(f"{file}, row {rows.line_num}: {len(row)} cells under {len(titles)} columns")
            path, id, labels = (None if i is None else row[i].strip() for i in columns)
            yield _Row(rows.line_num, path or "", id or "", labels)
    except csv.Error as error:
        raise DataError(f"{file}: not valid CSV ({error})") from None


def _parquet(file: Path | Source) -> Iterator[_Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(f"{file}: reading parquet needs pyarrow; {install_command('parquet')}") from None
    try:
        table = parquet.ParquetFile(BytesIO(read_bytes(file)) if isinstance(file, Source) else file)
        titles = table.schema_arrow.names
        columns = _columns(titles, file)
        number = 0
        for batch in table.iter_batches(columns=[titles[i] for i in columns if i is not None]):
            values = [None if i is None else batch.column(titles[i]) for i in columns]
            for i in range(len(batch)):
                number += 1
                path, id, labels = (None if column is None else column[i].as_py() for column in values)
                yield _Row(number, _shown(path), _shown(id), labels)
    except (ArrowException, OSError) as error:
        raise DataError(f"{file}: not readable as parquet ({one_line(error)})") from None


def _shown(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _columns(titles: Sequence[str], file: Path | Source) -> tuple[int, int | None, int | None]:
    """The columns of path, id and labels."""
    lower = [title.strip().casefold() for title in titles]

    def find(names: Iterable[str]) -> int | None:
        return next((lower.index(name) for name in names if name in lower), None)

    path = find(_PATHS)
    if path is None:
        raise DataError(f"{file}: no column 'path'; its columns are {', '.join(titles)[:200] or 'missing'}")
    return path, find(_IDS), find(LABEL_COLUMNS)
