"""Leases: which of several processes, perhaps on several machines, does what in a run folder.

Only three properties of the file system are used: a file can be created exclusively, replaced atomically, and its time
of modification is set by one clock. Object storage has them, too. Locks are used where they work, since they tell at
once that a process is dead.

A worker is a process with a file of its own, ``<worker>.worker``, which it holds locked and touches every ``HEARTBEAT``
seconds; on object storage it writes it again. A lease is a file ``<name>.lease-<number>`` that names its worker. The
lease with the highest number is the valid one. A worker takes a lease over by creating the next number, which only one
can do.

What a kill leaves:

- before the worker has a lease: a worker file, which the next merge removes;
- with a lease: the lease of a dead worker, which the next one takes over; the number of such leases is the number of
  workers that died with the task;
- a worker that is not dead but only stopped for longer than ``STALE``, as in a suspended virtual machine, may wake up
  and continue what another one has taken over. It asks ``held`` before it writes, and what both write is the same.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..io.files import names_in, write_bytes, write_once
from ..io.lock import Lock
from ..io.source import Location, Source

HEARTBEAT = 10.0
"""Seconds between two signs of life of a worker."""

STALE = 60.0
"""Seconds without a sign of life after which a worker counts as dead, where locks do not tell."""

POLL, REMOTE_POLL = 0.2, 2.0
"""Seconds between two looks at a lease that another worker holds, in a folder and on object storage."""

TRUST = 5.0
"""Seconds for which a lease on object storage, once looked at, counts as held."""

WORKER = ".worker"


def _machine() -> str:
    """What processes have in common that see the same locks."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{uuid.getnode():x}"


class About(msgspec.Struct):
    """Contents of a worker file.

    Attributes:
        machine: identifies the running system.
        host: its name.
        pid: number of the process.
        started: time in seconds since 1970.
        token: identifies the command, which may have several workers.
        driver: whether it only supervises the others of the command.
    """

    machine: str = ""
    host: str = ""
    pid: int = 0
    started: float = 0.0
    token: str = ""
    driver: bool = False


class Worker:
    """This process as a worker of a run folder, from its creation until ``leave``.

    Args:
        folder: the folder of worker files; created if missing.
        token, driver: see ``About``.

    Raises OSError if the folder cannot be written.
    """

    def __init__(self, folder: Location, token: str = "", *, driver: bool = False) -> None:
        self.folder = folder
        self.id = secrets.token_hex(6)
        self.path = folder / f"{self.id}{WORKER}"
        self._lock: Lock | None = None
        about = About(_machine(), platform.node(), os.getpid(), round(time.time(), 3), token, driver)
        self._about = msgspec.json.encode(about)
        while not self._register():
            pass
        self._left = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def _register(self) -> bool:
        """Create and lock the worker file; False if another process has removed it or the empty folder before that."""
        if isinstance(self.path, Source):
            self.path.create(self._about)
            if self.path.create(self._about):
                raise OSError(errno.ENOTSUP, "this object storage has no conditional writes, which leases need")
            return True
        self.folder.mkdir(exist_ok=True)
        try:
            write_once(self.path, self._about)
            self._lock = Lock(self.path, create=False)
        except FileNotFoundError:
            return False
        self._lock.take(shared=False, wait=1.0)  # others look at it for an instant
        if self.path.exists():
            return True
        self._lock.close()
        return False

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT):
            with suppress(OSError):
                self._touch()

    def _touch(self) -> None:
        if isinstance(self.path, Source):
            self.path.write_bytes(self._about)
        else:
            os.utime(self.path)

    def others(self) -> list[str]:
        """The other workers of the folder, dead ones included."""
        return [id for id in workers(self.folder) if id != self.id]

    def alive(self, other: str) -> bool:
        """Whether another worker is alive, as far as can be known."""
        return other == self.id or is_alive(self.folder, other, self._now)

    def _now(self) -> float:
        self._touch()
        return self.path.stat().st_mtime

    def leave(self) -> None:
        """End; may be called twice."""
        if not self._left.is_set():
            self._left.set()
            self.path.unlink(missing_ok=True)
            if self._lock is not None:
                self._lock.close()
        with suppress(OSError):  # not empty, or gone
            self.folder.rmdir()


def poll(folder: Location) -> float:
    """Seconds between two looks at a folder in which other workers change something."""
    return REMOTE_POLL if isinstance(folder, Source) else POLL


def workers(folder: Location) -> list[str]:
    """Ids of the workers in a folder, in the order of their ids; dead ones included. Raises OSError."""
    return [name.removesuffix(WORKER) for name in names_in(folder) if name.endswith(WORKER)]


def read_about(folder: Location, worker: str) -> About | None:
    """Contents of a worker file; None if there is none, all fields empty if it is damaged."""
    try:
        return msgspec.json.decode((folder / f"{worker}{WORKER}").read_bytes(), type=About)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, OSError):
        return About()


def is_alive(folder: Location, worker: str, now: Callable[[], float] = time.time) -> bool:
    """Whether a worker is alive, as far as can be known.

    Args:
        folder: the folder of worker files.
        worker: its id.
        now: the time in seconds since 1970, by the clock that sets times of modification in the folder.
    """
    about = read_about(folder, worker)
    if about is None:
        return False
    path = folder / f"{worker}{WORKER}"
    if isinstance(path, Path) and about.machine == _machine() and (held := is_locked(path)) is not None:
        return held
    try:
        return now() - path.stat().st_mtime < STALE
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock on a file; None if that cannot be known."""
    try:
        lock = Lock(path, create=False)
    except OSError:
        return False if not path.exists() else None
    try:
        return None if not lock.works() else not lock.take(shared=True)
    finally:
        lock.close()


@dataclass(frozen=True)
class Former:
    """A lease of the past.

    Attributes:
        worker: who had it.
        released: whether it was given back; otherwise the worker died.
        image: id of the image that the worker was processing alone, if any.
    """

    worker: str
    released: bool
    image: str | None


@dataclass(frozen=True)
class Lease:
    """A valid lease of this worker.

    Attributes:
        name: of the task.
        number: of the lease, from 1.
        former: the leases before it, in order.
    """

    name: str
    number: int
    former: tuple[Former, ...] = ()


def lease_numbers(names: Iterable[str]) -> dict[str, list[int]]:
    """Numbers of the leases among the names of the files in a folder, ascending, by name of the task."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for entry in names:
        name, _, number = entry.rpartition(".lease-")
        if name and number.isdecimal():
            found[name].append(int(number))
    return {name: sorted(numbers) for name, numbers in found.items()}


def former_leases(folder: Location, name: str, numbers: Sequence[int]) -> tuple[Former, ...]:
    """The leases of a task with these numbers, but for those that are gone."""
    found = []
    for number in numbers:
        try:
            values: Any = json.loads(_lease_path(folder, name, number).read_bytes())
            found.append(Former(str(values["worker"]), bool(values["released"]), values["image"]))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, KeyError):  # cut off by a kill
            found.append(Former("", False, None))
    return tuple(found)


def _lease_path(folder: Location, name: str, number: int) -> Location:
    return folder / f"{name}.lease-{number}"


class Leases:
    """The leases in a folder.

    Args:
        folder: the folder, which must exist.
        worker: this process.
    """

    def __init__(self, folder: Location, worker: Worker) -> None:
        self._folder, self._worker = folder, worker
        self._seen: dict[Lease, float] = {}  # when a lease was last known to be held
        self._asking = threading.Lock()

    def take(self, name: str, numbers: Sequence[int] = ()) -> Lease | None:
        """Take a lease; None if another worker has it, or has just given it back.

        Args:
            name: of the task.
            numbers: its leases so far; see ``listing``.
        """
        former = former_leases(self._folder, name, numbers)
        last = former_leases(self._folder, name, numbers[-1:])
        if len(last) < len(numbers[-1:]) or any(not f.released and self._worker.alive(f.worker) for f in last):
            return None
        number = numbers[-1] + 1 if numbers else 1
        try:
            if not write_once(self._path(name, number), self._content()):
                return None
        except FileNotFoundError:  # the folder, or the temporary file, was cleaned up by a worker that ended
            return None
        if former_leases(self._folder, name, numbers[-1:]) != last:  # removed meanwhile, so the numbers began anew
            self._path(name, number).unlink(missing_ok=True)
            return None
        return Lease(name, number, former)

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Hold a lease that is taken as soon as no living worker has it."""
        while (lease := self.take(name, lease_numbers(names_in(self._folder)).get(name, ()))) is None:
            time.sleep(poll(self._folder))
        try:
            yield
        finally:
            for number in range(1, lease.number):
                self._path(name, number).unlink(missing_ok=True)
            self._path(name, lease.number).unlink(missing_ok=True)  # last: the highest number is the valid one

    def held(self, lease: Lease) -> bool:
        """Whether a lease is still valid. May be called from threads."""
        if not isinstance(self._folder, Source):
            return self._is_held(lease)
        with self._asking:
            if time.monotonic() - self._seen.get(lease, -TRUST) >= TRUST:
                if not self._is_held(lease):
                    return False
                self._seen[lease] = time.monotonic()
        return True

    def _is_held(self, lease: Lease) -> bool:
        return self._path(lease.name, lease.number).exists() and not self._path(lease.name, lease.number + 1).exists()

    def note(self, lease: Lease, image: str) -> None:
        """Record that the worker is processing this image alone."""
        write_bytes(self._path(lease.name, lease.number), self._content(image=image))

    def release(self, lease: Lease) -> None:
        """Give a lease back; its file remains, since it says who has worked on the task."""
        if self.held(lease):
            write_bytes(self._path(lease.name, lease.number), self._content(released=True))

    def forget(self, name: str, numbers: Sequence[int]) -> None:
        """Remove the leases of a task that is done."""
        for number in numbers:
            self._path(name, number).unlink(missing_ok=True)

    def _path(self, name: str, number: int) -> Location:
        return _lease_path(self._folder, name, number)

    def _content(self, *, released: bool = False, image: str | None = None) -> bytes:
        return json.dumps({"worker": self._worker.id, "released": released, "image": image}).encode()
