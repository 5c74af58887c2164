"""The manifest: a line an image, saying what became of it.

While a run goes on, each process appends to a file of its own (``manifest.jsonl``, or
``manifest.shard-1-of-4.jsonl`` for a shard). At the end they become one ``manifest.jsonl`` in the dataset's order.
Reading merges whatever is there, so a killed run needs no repair before it can be read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .files import plain, write_text

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Record:
    """What became of one image.

    Attributes:
        id: name of the image within its dataset.
        status: ``ok`` or ``failed``.
        present: names of the classes taken as present.
        scores: score of each class considered, by name.
        size: width and height in pixels.
        pixels: pixels of each class found, by name, background included.
        ignore: share of the pixels that are 255.
        seconds: time the seeder took.
        error: why it failed.
        notes: remarks for the user.
        evidence: what led to the seed, as the backend tells it.
        sha256: of the mask file; a mask that differs is made again.
        settings: fingerprint of the settings that made it.
        finished: when, in seconds since 1970; of two records of one image the later holds.
    """

    id: str
    status: str
    present: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    pixels: Mapping[str, int] = field(default_factory=dict)
    ignore: float | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    settings: str = ""
    finished: float = 0.0

    def to_line(self) -> str:
        return json.dumps(plain(dataclasses.asdict(self))) + "\n"


_FIELDS = {f.name for f in dataclasses.fields(Record)}


class Appender:
    """A manifest file open for appending, from several threads. Cuts off the torn last line that a kill left."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        data = path.read_bytes()
        os.ftruncate(self._descriptor, data.rfind(b"\n") + 1)

    def append(self, record: Record) -> None:
        """Add a line. It is in the system's hands when this returns. Raises OSError, leaving no half line behind."""
        line = record.to_line().encode()
        with self._lock:
            end = os.fstat(self._descriptor).st_size
            try:
                while line:  # a write may stop early, at a full disk for one, and only the next says why
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os.ftruncate(self._descriptor, end)
                raise

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1


def read_manifest(folder: Path) -> dict[str, Record]:
    """All records of a run folder by id, the later one where an image has several. Raises OSError."""
    records: dict[str, Record] = {}
    for path in manifest_files(folder):
        for record in _read_lines(path):
            known = records.get(record.id)
            if known is None or record.finished >= known.finished:
                records[record.id] = record
    return records


def manifest_files(folder: Path) -> list[Path]:
    """The manifest and what shards have written beside it."""
    whole = folder / MANIFEST
    return [*([whole] if whole.exists() else []), *sorted(folder.glob("manifest.shard-*-of-*.jsonl"))]


def shard_file(shard: tuple[int, int]) -> str:
    """Name of the file one process appends to; ``shard`` counts from 0."""
    index, count = shard
    return MANIFEST if count == 1 else f"manifest.shard-{index + 1}-of-{count}.jsonl"


def compact(folder: Path, records: Iterable[Record]) -> None:
    """Make ``manifest.jsonl`` hold exactly these records and remove the files of shards. Only for who is alone here."""
    parts = [path for path in manifest_files(folder) if path.name != MANIFEST]
    write_text(folder / MANIFEST, "".join(record.to_line() for record in records))
    for part in parts:
        part.unlink()


def _read_lines(path: Path) -> Iterable[Record]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield _parse(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # torn by a kill; the image is simply done again


def _parse(values: Mapping[str, Any]) -> Record:
    known = {key: value for key, value in values.items() if key in _FIELDS}
    size = values.get("size")
    return Record(
        **known
        | {
            "id": str(values["id"]),
            "present": tuple(values.get("present", ())),  # JSON knows no tuples
            "notes": tuple(values.get("notes", ())),
            "size": None if size is None else (int(size[0]), int(size[1])),
            "finished": float(values.get("finished", 0.0)),
        }
    )
