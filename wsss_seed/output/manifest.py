"""The manifest: one line of JSON per image with its result.

During a run each process appends to a file of its own, ``.work/<worker>.jsonl``. At the end they are merged into one
``manifest.jsonl`` in the order of the dataset. Readers merge all files, so that a killed run needs no repair before it
can be read.

A manifest can have millions of lines: no function holds more than one record at a time, and an index holds only id and
position of each. A manifest may also come from elsewhere: a line whose id could point outside the run folder, or whose
values have wrong types, counts as damaged, and damaged lines are skipped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain, compress
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal

import msgspec

from ..data.ids import check_id
from ..data.lazy import Index, Texts
from ..errors import WsssError
from ..io.files import NO_FOLLOW, names_in, open_file, write_lines
from ..io.source import Location
from ..io.stamp import Stamp

MANIFEST, WORK = "manifest.jsonl", ".work"

MOST_OPEN = 100
"""Number of manifest files that a reader keeps open."""

_BUFFER = 2**16  # bytes; by default little more than a line is read at once

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count, small enough for exact sums and ratios."""


class Outline(msgspec.Struct, frozen=True):
    """Result for one image without its evidence, which is most of a line and takes most of the time to decode.

    Attributes:
        id: name of the image within its dataset.
        status: ``ok`` or ``failed``.
        present: names of the classes considered present.
        scores: score of each candidate class, by name.
        size: width and height in pixels.
        pixels: pixels of each class in the label map, by name, background included.
        ignore: share of ignored pixels.
        seconds: time the seeder took.
        error: error message of a failed image.
        notes: messages for the user.
        mask: stamp of the mask file as written.
        image: stamp of the image file; None if the image was drawn, or is no file of its own.
        source: where the image lies, without credentials, if it is no file or the run folder has no link to it.
        labels: names of the given image-level labels; None without any.
        settings: fingerprint of the settings.
        finished: time in seconds since 1970; the latest record of an image is valid.
    """

    id: str
    status: Literal["ok", "failed"]
    present: tuple[str, ...] = ()
    scores: dict[str, float | None] = {}
    size: tuple[Count, Count] | None = None
    pixels: dict[str, Count] = {}
    ignore: float | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()
    mask: Stamp | None = None
    image: Stamp | None = None
    source: str | None = None
    labels: tuple[str, ...] | None = None
    settings: str = ""
    finished: float = 0.0


class Record(Outline, frozen=True):
    """Result for one image.

    Attributes:
        evidence: intermediate results recorded by the backend; empty if they are damaged.
    """

    evidence: dict[str, Any] = {}

    def to_line(self) -> bytes:
        """The record as a line of the manifest."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Record:
        """Inverse of ``to_line``; unknown fields are ignored. Raises ValueError for a damaged line."""
        outline = outline_of(line)
        try:
            return _RECORDS.decode(line)
        except _DAMAGED:
            return cls(**msgspec.structs.asdict(outline))


# Bytes that are not UTF-8 raise UnicodeDecodeError, a ValueError; MsgspecError is one only in recent versions.
_DAMAGED = (msgspec.MsgspecError, ValueError, RecursionError)
_OUTLINES, _RECORDS = msgspec.json.Decoder(Outline), msgspec.json.Decoder(Record)


def outline_of(line: bytes) -> Outline:
    """The outline of a line of the manifest. Raises ValueError for a damaged line."""
    try:
        outline = _OUTLINES.decode(line)
        check_id(outline.id)
    except (*_DAMAGED, WsssError) as error:
        raise ValueError(str(error)) from None
    return outline


class Appender:
    """A manifest file open for appending from several threads. Truncates an incomplete last line.

    Links are not followed. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_FOLLOW, 0o666)
        with open(path, "rb") as file:
            os.ftruncate(self._descriptor, _end_of_last_line(file))

    def append(self, record: Record) -> None:
        """Append a line and hand it to the operating system. Raises OSError without leaving an incomplete line."""
        line = record.to_line()
        with self._lock:
            end = os.fstat(self._descriptor).st_size
            try:
                while line:  # a write may stop early, e.g. on a full disk, and only the next one raises
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os.ftruncate(self._descriptor, end)
                raise

    def flush(self) -> None:
        """Do nothing: ``append`` has done it."""

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1


def _end_of_last_line(file: Any, block: int = 2**16) -> int:
    """Position after the last newline of a file, 0 if there is none; reads from the end."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            result: int = start + found + 1
            return result
        position = start
    return 0


def read_outlines(files: Iterable[Location]) -> Iterator[Outline]:
    """The outlines of all records of some manifest files, superseded ones included. Raises OSError.

    Their ids are not checked: for those who look them up in a dataset.
    """
    for path in files:
        with open_file(path, _BUFFER) as file:
            for line in file:
                try:
                    outline = _OUTLINES.decode(line)
                except _DAMAGED:
                    continue
                yield outline


def read_records(files: Iterable[Location]) -> Iterator[Record]:
    """All records of some manifest files, superseded ones included. Raises OSError."""
    for path in files:
        with open_file(path) as file:
            for line in file:
                with suppress(ValueError):  # incomplete or damaged
                    yield Record.from_line(line)


class Latest:
    """Of the records of some manifest files, the latest one of each image.

    Args:
        files: open files.
        settings: fingerprint of the settings; records with others are left out. None for all records.

    Attributes:
        ids: ids of the images, each once, in the order of their first records.
        places: where the records lie: offset times number of files, plus file.
        finished: when the images were finished, in seconds since 1970.
        ok: whether they have a mask.
    """

    def __init__(self, files: Sequence[IO[bytes]], settings: str | None = None) -> None:
        self.ids, self.places, self.finished, self.ok = Texts(), array("q"), array("d"), bytearray()
        for number, file in enumerate(files):
            file.seek(0)
            for offset, outline in _scan(file):
                if settings is None or outline.settings == settings:
                    self.ids.append(outline.id)
                    self.places.append(offset * len(files) + number)
                    self.finished.append(outline.finished)
                    self.ok.append(outline.status == "ok")
        self.index = Index(self.ids)
        if repeated := self.index.repeated():
            self._drop_superseded(repeated)

    def _drop_superseded(self, repeated: Sequence[Sequence[int]]) -> None:
        keep = bytearray(b"\1") * len(self.ids)
        for alike in repeated:
            last = max(alike, key=lambda i: (self.finished[i], i))
            self.places[alike[0]] = self.places[last]
            self.finished[alike[0]] = self.finished[last]
            self.ok[alike[0]] = self.ok[last]
            for i in alike[1:]:
                keep[i] = 0
        self.ids = Texts(compress(self.ids, keep))
        self.places = array("q", compress(self.places, keep))
        self.finished = array("d", compress(self.finished, keep))
        self.ok = bytearray(compress(self.ok, keep))
        self.index = Index(self.ids)


def latest_of(paths: Sequence[Location], settings: str) -> Latest:
    """The latest records with these settings in some manifest files, which are read once. Raises OSError."""
    with ExitStack() as stack:
        return Latest(_opened(paths, stack), settings)


class Manifest(Mapping[str, Record]):
    """The records of a run folder by id, the latest one if an image has several.

    Only id and position of each are in memory; records are read on access. Use as a context manager, or let the files
    be closed with the object. Reading is safe from several threads, also while the run is in progress and files grow
    or are replaced.

    Attributes:
        ids: the ids, in the order of their first records.

    Raises OSError if the files cannot be read.
    """

    def __init__(self, folder: Location) -> None:
        self._lock = threading.Lock()
        self._open = ExitStack()  # first, since close runs even if a file cannot be opened
        self._files = _opened(manifest_files(folder), self._open)
        latest = Latest(self._files)
        self.ids, self._places, self._index = latest.ids, latest.places, latest.index

    def __getitem__(self, id: str) -> Record:
        return Record.from_line(self._line(self._position(id)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._index.position(id) >= 0

    def outlines(self) -> Iterator[Outline]:
        """The outlines of the records, in the order of the ids."""
        return (outline_of(self._line(i)) for i in range(len(self)))

    def lines(self, order: Iterable[str]) -> Iterator[tuple[bytes, Outline, bool]]:
        """Each line as stored, its outline, and whether its id is in ``order``: in this order, the others by id."""
        ordered, seen = array("q"), bytearray(len(self))
        for id in order:
            i = self._index.position(id)
            if i >= 0 and not seen[i]:
                seen[i] = 1
                ordered.append(i)
        others = sorted((i for i, found in enumerate(seen) if not found), key=self.ids.__getitem__)
        for i in chain(ordered, others):
            line = self._line(i)
            yield line, outline_of(line), bool(seen[i])

    def _position(self, id: str) -> int:
        i = self._index.position(id)
        if i < 0:
            raise KeyError(id)
        return i

    def _line(self, i: int) -> bytes:
        offset, number = divmod(self._places[i], len(self._files))
        with self._lock:
            self._files[number].seek(offset)
            return self._files[number].readline()

    def close(self) -> None:
        self._open.close()

    __del__ = close

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(paths: Sequence[Location], stack: ExitStack) -> list[IO[bytes]]:
    """Some manifest files, open until the stack is closed; those beyond ``MOST_OPEN`` as one temporary copy.

    A process may have some thousand files open, and a run more workers.
    """
    files = [stack.enter_context(open_file(path, _BUFFER)) for path in paths[:MOST_OPEN]]
    if paths[MOST_OPEN:]:
        rest = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        for path in paths[MOST_OPEN:]:
            with open_file(path) as file:
                shutil.copyfileobj(file, rest)
            rest.write(b"\n")  # its last line may be incomplete
        files.append(rest)
    return files


def manifest_files(folder: Location) -> list[Location]:
    """The manifest and the files of workers. Raises OSError."""
    whole, work = folder / MANIFEST, folder / WORK
    parts = [work / name for name in names_in(work) if name.endswith(".jsonl")]
    return [*([whole] if whole.exists() else []), *parts]


def part_files(folder: Location, workers: Iterable[str]) -> list[Location]:
    """The files of these workers. Raises OSError."""
    some = frozenset(workers)
    return [path for path in manifest_files(folder) if path.name.partition(".")[0] in some]


def error_text(error: str) -> str:
    """An error for a record: on one line, and whatever file names it contains, UTF-8."""
    return " ".join(error.split()).encode("utf-8", "backslashreplace").decode()


def part_file(worker: str) -> str:
    """The first file of the records of a worker, within the run folder."""
    return f"{WORK}/{worker}.jsonl"


def compact(folder: Location, lines: Iterable[bytes]) -> None:
    """Replace ``manifest.jsonl`` by these lines and remove the files of workers; needs exclusive access to the folder.

    Raises OSError.
    """
    parts = [path for path in manifest_files(folder) if path.name != MANIFEST]
    write_lines(folder / MANIFEST, lines)
    for path in parts:
        path.unlink()


def _scan(file: Iterable[bytes]) -> Iterator[tuple[int, Outline]]:
    """The valid records of a file, each with the offset of its line in bytes."""
    offset = 0
    for line in file:
        try:
            outline = outline_of(line)
        except ValueError:  # incomplete or damaged; the image is simply processed again
            pass
        else:
            yield offset, outline
        offset += len(line)
