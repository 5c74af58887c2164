"""Locks on files and folders, so that processes do not get in each other's way."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from .files import NO_FOLLOW

try:
    import fcntl
except ImportError:  # Windows has other locks; there a run goes without, and shards are refused
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Lock:
    """An advisory lock on a file. The system frees it when the process ends, however it ends.

    Raises OSError where the file cannot be made, or is a link.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)

    def take(self, *, shared: bool, wait: float = 0.0) -> bool:
        """Take the lock, or change it from exclusive to shared. False if it stays taken for ``wait`` seconds.

        Where the system has no locks the answer is True; ask ``works`` where that is not enough.
        """
        end = time.monotonic() + wait
        while not self._try(shared):
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        return True

    def works(self) -> bool:
        """Whether the file system has locks."""
        return self._call("LOCK_SH") is not None

    def release(self) -> None:
        """Let go of the lock; the file stays open for another ``take``."""
        self._call("LOCK_UN")

    def close(self) -> None:
        os.close(self._descriptor)

    def _try(self, shared: bool) -> bool:
        return self._call("LOCK_SH" if shared else "LOCK_EX") is not False

    def _call(self, kind: str) -> bool | None:
        """True: taken. False: another process has it. None: there are no locks here."""
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
    """An advisory lock on a folder itself, which needs no file. Use as a context manager.

    Raises OSError where the folder cannot be opened.
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
        except OSError:  # network file systems that lock files lock no folders, and say so in many ways
            return None
