"""What identifies the content of a file, such that an unchanged file need not be read to be recognised."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec


class Stamp(msgspec.Struct, frozen=True):
    """Size, modification time and digest of a file.

    Attributes:
        bytes: size of the file.
        mtime_ns: modification time in nanoseconds since 1970.
        sha256: of the content, in hexadecimal.
    """

    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Stamp a file by reading it. Raises OSError."""
        before = path.stat()  # taken first, so that a file replaced while it is read differs at the next look
        with open(path, "rb") as file:
            return cls(before.st_size, before.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())

    @classmethod
    def of_written(cls, path: Path, sha256: str) -> Stamp:
        """Stamp a file whose digest is known because it was just written. Raises OSError."""
        now = path.stat()
        return cls(now.st_size, now.st_mtime_ns, sha256)

    def fits(self, path: Path) -> bool:
        """Whether a file has the same content. It is read only where size or time differ. Raises OSError."""
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) == (self.bytes, self.mtime_ns):
            return True
        if now.st_size != self.bytes:
            return False
        return Stamp.of(path).sha256 == self.sha256
