"""Records of a worker on object storage, where files cannot be appended to."""

from __future__ import annotations

import threading
import time

from ..io.source import Source
from .manifest import Record, part_file

SECONDS = 10.0
"""Time after which records are written at the latest when the next one comes; a kill loses those of this time."""

BYTES = 2**20
"""Length from which on a new file is begun, since a file is written again, whole, with every few records."""


class ObjectAppender:
    """Like ``manifest.Appender``, in files ``.work/<worker>.jsonl``, ``.work/<worker>.2.jsonl`` and so on.

    Records are kept in memory for up to ``SECONDS``. If the process is killed in between, masks without a record
    remain, which are made again. Creates the first file, empty. Raises OSError.

    Args:
        folder: the run folder.
        worker: this process.
    """

    def __init__(self, folder: Source, worker: str) -> None:
        self._first = folder / part_file(worker)
        self._number = 1
        self._lock = threading.Lock()
        self._content = bytearray()
        self._unwritten = False
        self._written = time.monotonic()
        self._first.create(b"")

    def append(self, record: Record) -> None:
        """Keep a record, and write those kept if it is time. Raises OSError."""
        with self._lock:
            self._content += record.to_line()
            self._unwritten = True
            if time.monotonic() - self._written >= SECONDS:
                self._write()

    def flush(self) -> None:
        """Write the records kept. Raises OSError."""
        with self._lock:
            if self._unwritten:
                self._write()

    close = flush

    def _write(self) -> None:
        name = self._first.name if self._number == 1 else f"{self._first.stem}.{self._number}.jsonl"
        (self._first.parent / name).write_bytes(bytes(self._content))
        self._unwritten = False
        self._written = time.monotonic()
        if len(self._content) >= BYTES:
            self._number += 1
            self._content.clear()
