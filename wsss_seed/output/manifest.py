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
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import msgspec

from ..data.ids import check_id
from ..errors import WsssError
from ..io.files import NO_FOLLOW, names_in, open_file, write_lines
from ..io.source import Location
from ..io.stamp import Stamp

MANIFEST, WORK = "manifest.jsonl", ".work"

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count, small enough for exact sums and ratios."""


class Record(msgspec.Struct, frozen=True):
    """Result for one image.

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
        evidence: intermediate results recorded by the backend.
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
    evidence: dict[str, Any] = {}
    mask: Stamp | None = None
    image: Stamp | None = None
    source: str | None = None
    labels: tuple[str, ...] | None = None
    settings: str = ""
    finished: float = 0.0

    def to_line(self) -> bytes:
        """The record as a line of the manifest."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Record:
        """Inverse of ``to_line``; unknown fields are ignored. Raises ValueError for a damaged line."""
        try:
            record = _DECODER.decode(line)
            check_id(record.id)
        except (msgspec.MsgspecError, RecursionError, WsssError) as error:
            raise ValueError(str(error)) from None
        return record


_DECODER = msgspec.json.Decoder(Record)


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


def read_records(files: Iterable[Location]) -> Iterator[Record]:
    """All records of some manifest files, superseded ones included. Raises OSError."""
    for path in files:
        yield from records_of(path)


def records_of(path: Location) -> Iterator[Record]:
    """All records of one manifest file. Raises OSError."""
    with open_file(path) as file:
        for _, record in _scan(file):
            yield record


class Manifest(Mapping[str, Record]):
    """The records of a run folder by id, the latest one if an image has several.

    Only id and position of each are in memory; records are read on access. Use as a context manager, or let the files
    be closed with the object. Reading is safe from several threads, also while the run is in progress and files grow
    or are replaced.

    Raises OSError if the files cannot be read.
    """

    def __init__(self, folder: Location) -> None:
        self._lock = threading.Lock()
        self._open = ExitStack()  # first, since close runs even if a file cannot be opened
        self._files = [self._open.enter_context(open_file(path)) for path in manifest_files(folder)]
        self._places: dict[str, int] = {}  # offset * number of files + file: half the memory of a tuple
        for number, kept in enumerate(self._files):
            with open(kept.name, "rb") as file:
                for offset, record in _scan(file):
                    place = offset * len(self._files) + number
                    known = self._places.get(record.id)
                    if known is None or record.finished >= self._read(known)[1].finished:
                        self._places[record.id] = place

    def __getitem__(self, id: str) -> Record:
        return self._read(self._places[id])[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def line(self, id: str) -> tuple[bytes, Record]:
        """The line of an id as stored, and its record."""
        return self._read(self._places[id])

    def _read(self, place: int) -> tuple[bytes, Record]:
        offset, number = divmod(place, len(self._files))
        with self._lock:
            self._files[number].seek(offset)
            line = self._files[number].readline()
        return line, Record.from_line(line)

    def close(self) -> None:
        self._open.close()

    __del__ = close

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def manifest_files(folder: Location) -> list[Location]:
    """The manifest and the files of workers. Raises OSError."""
    whole, work = folder / MANIFEST, folder / WORK
    parts = [work / name for name in names_in(work) if name.endswith(".jsonl")]
    return [*([whole] if whole.exists() else []), *parts]


def part_files(folder: Location, workers: Iterable[str]) -> list[Location]:
    """The files of these workers. Raises OSError."""
    some = frozenset(workers)
    return [path for path in manifest_files(folder) if path.name.partition(".")[0] in some]


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


def _scan(file: Iterable[bytes]) -> Iterator[tuple[int, Record]]:
    """The valid records of a file, each with the offset of its line in bytes."""
    offset = 0
    for line in file:
        with suppress(ValueError):  # incomplete or damaged; the image is simply processed again
            yield offset, Record.from_line(line)
        offset += len(line)
