"""Something happens to this process at its N-th file operation inside a folder: a kill, a signal, or an error.

As a script: ``python operations.py FOLDER N ACT COMMAND...`` runs ``wsss-seed COMMAND...``. ACT is the name of a signal
that this process then sends to itself, or of an error that the operation and, for ENOSPC, all later ones end in.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_TAKES_SPACE = {"os.rename", "os.mkdir", "os.symlink", "os.link"}
_CHANGES = {*_TAKES_SPACE, "os.remove", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Trap:
    """Counts the file operations inside a folder, and acts at one of them. Where they matter, opening to read counts.

    Args:
        folder: operations on what lies in it are counted, and those relative to a descriptor, which rmtree makes.
        at: which operation, from 1; 0 for none.
        act: name of a signal that the process then sends to itself, before the operation is done, or of the error in
            which the operation ends; in ENOSPC all later ones that take space end too.

    Attributes:
        count: how many there were so far.
    """

    def __init__(self, folder: Path, at: int, act: str) -> None:
        self.folder, self.at, self.act = os.path.abspath(folder), at, act
        self.count = 0
        self._counting = threading.RLock()

    def set(self) -> None:
        """From now on, until the process ends."""
        sys.addaudithook(self._audit)
        write, fsync = os.write, os.fsync
        tearing = self.act == "SIGKILL" or not self.act.startswith("SIG")  # other signals leave the operation alone

        def torn_write(descriptor: int, data: Any) -> int:
            # A line of a manifest, of which half is left.
            since = self._next() if self._inside(descriptor) else -1
            if since == 0 and tearing:
                write(descriptor, data[: len(data) // 2])
            self._act(since)
            return write(descriptor, data)

        def synced(descriptor: int) -> None:
            # What a buffered file has written; of that too half is left.
            since = self._next() if self._inside(descriptor) else -1
            if since == 0 and tearing:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            self._act(since)
            fsync(descriptor)

        os.write, os.fsync = torn_write, synced  # type: ignore[assignment]

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int):
            path = f"/proc/self/fd/{path}"
        if not isinstance(path, str | bytes):
            return False
        name = os.fsdecode(path)
        if name.startswith("/proc/self/fd/"):
            try:
                name = os.readlink(name)
            except OSError:
                return False
        if not os.path.isabs(name):
            return "/" not in name and name != "."
        return name == self.folder or name.startswith(self.folder + os.sep)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if (flags & _WRITING or self.act not in ("SIGKILL", "ENOSPC")) and self._inside(path):
                self._act(self._next())
        elif event in (_TAKES_SPACE if self.act == "ENOSPC" else _CHANGES):
            paths = args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]
            if any(self._inside(path) for path in paths):
                self._act(self._next())

    def _next(self) -> int:
        """Count an operation. How many there were since the one to act at, negative before it."""
        with self._counting:
            self.count += 1
            return self.count - self.at if self.at else -1

    def _act(self, since: int) -> None:
        if since < 0 or (since and self.act != "ENOSPC"):
            return
        if self.act.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.act))
        else:
            number = getattr(errno, self.act)
            raise OSError(number, os.strerror(number))


def main() -> None:
    folder, at, name, *command = sys.argv[1:]
    sys.argv = ["wsss-seed", *command]
    from wsss_seed.cli import main as wsss_seed

    for kind in (signal.SIGINT, signal.SIGHUP):  # ignored where the parent runs in the background
        signal.signal(kind, signal.default_int_handler)
    Trap(Path(folder), int(at), name).set()
    wsss_seed()


if __name__ == "__main__":
    main()
