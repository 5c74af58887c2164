"""Advisory locks on files and folders, for processes that share a folder."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from .files import NO_FOLLOW

try:
    import fcntl
except ImportError:  # Windows: runs are not locked, and shards in one folder are refused
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Name of the file that a command locks in the folder it writes to."""

LOCK_WAIT = 5.0
"""Seconds to wait for another process to open or close a folder."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Lock:
    """An advisory lock on a file. The operating system releases it when the process ends, even if killed.

    Raises OSError if the file cannot be created, with ``create`` false if there is none, or if it is a symbolic link.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | NO_FOLLOW, 0o666)

    def take(self, *, shared: bool, wait: float = 0.0) -> bool:
        """Take the lock, or change it from exclusive to shared. False if another process holds it for ``wait`` seconds.

        Also True where the file system does not support locks; use ``works`` to distinguish the two.
        """
        end = time.monotonic() + wait
        while not self._try(shared):
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        return True

    def works(self) -> bool:
        """Whether the file system supports locks."""
        return self._call("LOCK_SH") is not None

    def release(self) -> None:
        """Release the lock; the file stays open for another ``take``."""
        self._call("LOCK_UN")

    def close(self) -> None:
        os.close(self._descriptor)

    def _try(self, shared: bool) -> bool:
        return self._call("LOCK_SH" if shared else "LOCK_EX") is not False

    def _call(self, kind: str) -> bool | None:
        """True: taken. False: held by another process. None: locks are not supported."""
        if fcntl is None:
            return None
        try:
            fcntl.flock(self._descriptor, getattr(fcntl, kind) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        return True


class FolderLock(Lock):
    """An advisory lock on a folder itself, without a lock file. Use as a context manager.

    Raises OSError if the folder cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1 if fcntl is None else os.open(path, os.O_RDONLY)

    def close(self) -> None:
        if self._descriptor >= 0:
            super().close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, kind: str) -> bool | None:
        try:
            return super()._call(kind)
        except OSError:  # some network file systems lock files but not folders, with various error codes
            return None
