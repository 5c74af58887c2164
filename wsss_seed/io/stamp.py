"""File stamps: size, modification time and digest, so that unchanged files are recognised without reading them."""

from __future__ import annotations

import hashlib

import msgspec

from .source import Location, Source


class Stamp(msgspec.Struct, frozen=True):
    """Size, modification time and digest of a file.

    Attributes:
        bytes: size of the file.
        mtime_ns: modification time in nanoseconds since 1970.
        sha256: digest of the content, in hexadecimal.
    """

    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Location) -> Stamp:
        """Stamp a file by reading it. Raises OSError."""
        before = path.stat()  # first, so that a file replaced while being read is noticed at the next check
        if isinstance(path, Source):
            return cls(before.st_size, before.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        with open(path, "rb") as file:
            return cls(before.st_size, before.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())

    @classmethod
    def of_written(cls, path: Location, sha256: str) -> Stamp:
        """Stamp a file whose digest is known because it was just written. Raises OSError."""
        now = path.stat()
        return cls(now.st_size, now.st_mtime_ns, sha256)

    def fits(self, path: Location, *, read: bool = False) -> bool:
        """Whether a file has the same content. Reads it only if its modification time differs, or with ``read``.

        Raises OSError.
        """
        now = path.stat()
        if not read and (now.st_size, now.st_mtime_ns) == (self.bytes, self.mtime_ns):
            return True
        if now.st_size != self.bytes:
            return False
        return Stamp.of(path).sha256 == self.sha256
