"""The plan of a run: its images in shards, of which each worker takes one after the other.

A plan says which images a run has and which of them are still to be processed. It does not depend on the workers: any
number of them, started at any time on any machine that sees the folder, take shards under a lease (see ``leases``), and
a shard is committed once, by a file ``<shard>.done``.

A shard whose worker died is taken over after all others, by its next worker, which processes its remaining images one
at a time and notes each of them before. An image during which ``MOST_DEATHS`` workers died is not tried again.

::

    .work/<plan>/plan.json     the plan
    .work/<plan>/17.lease-1    a lease of shard 17
    .work/<plan>/17.done       shard 17 is committed
    .work/<plan>/0f..2.joined  a worker that has processed the plan
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import numpy as np

from ..data.base import Sample
from ..io.files import is_part, names_in, remove_tree, write_bytes, write_once
from ..io.source import Location
from .leases import WORKER, Lease, Leases, Worker, former_leases, lease_numbers, poll

PLAN, DONE, JOINED = "plan.json", ".done", ".joined"

CLEARED = "cleared-"
"""With the token of a command, the name of a file: one of its processes has cleared the run folder."""

MOST_SHARDS = 256
"""Number of shards of a run of that many images or more, as long as shards do not exceed ``MOST_IMAGES``."""

MOST_IMAGES = 256
"""Most images of a shard by default."""

LEAST_REMOTE_IMAGES = 8
"""Least images of a shard on object storage by default."""

MOST_DEATHS = 2
"""Number of workers that may die while processing an image alone."""


class Plan(msgspec.Struct):
    """A plan as stored.

    Attributes:
        part: which part of the run it is, (number from 1, number of parts).
        images: number of its images.
        size: number of images of a shard; the last one may have fewer.
        todo: the images to process, one bit each, in base64.
        kept: ids of masks that were edited since they were made; they are not processed.
        replaced: ids of images that were replaced since their masks were made; they are.
        token: identifies the command that regenerates finished masks; empty if finished masks stay.
        since: time in seconds since 1970 from which on finished masks count.
    """

    part: tuple[int, int]
    images: int
    size: int
    todo: str
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    token: str = ""
    since: float = 0.0

    def bits(self) -> np.ndarray:
        """``todo`` as bool (images,)."""
        packed = np.frombuffer(base64.b64decode(self.todo), np.uint8)
        return np.unpackbits(packed, count=self.images).astype(bool)


def pack(todo: np.ndarray) -> str:
    """Inverse of ``Plan.bits``."""
    return base64.b64encode(np.packbits(todo).tobytes()).decode()


def plan_name(fingerprint: str, ids: Sequence[str]) -> str:
    """Name of the plan for these images with these settings."""
    state = hashlib.sha256(fingerprint.encode())
    for id in ids:
        state.update(id.encode("utf-8", "surrogateescape") + b"\n")
    return state.hexdigest()[:16]


def shard_size(images: int, shards: int | None, *, remote: bool = False) -> int:
    """Images of a shard, for a number of shards or the default one.

    Small shards divide the work evenly; every shard costs a few small files, or on object storage a dozen requests.
    """
    if shards is not None:
        return max(1, -(-images // shards))
    return max(LEAST_REMOTE_IMAGES if remote else 1, -(-images // max(MOST_SHARDS, -(-images // MOST_IMAGES))))


def read_plan(folder: Location) -> Plan | None:
    """The plan in a folder; None if there is none, or it is damaged."""
    try:
        return msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
    except (FileNotFoundError, msgspec.MsgspecError, ValueError):
        return None


def write_plan(folder: Location, plan: Plan) -> None:
    """Store a plan. Raises OSError."""
    write_bytes(folder / PLAN, msgspec.json.encode(plan))


def join(folder: Location, worker: str) -> None:
    """Record that a worker processes the plan. Raises OSError."""
    (folder / f"{worker}{JOINED}").touch()


def joined(folder: Location) -> list[str]:
    """Ids of the workers that have processed the plan. Raises OSError."""
    return [name.removesuffix(JOINED) for name in names_in(folder) if name.endswith(JOINED)]


def troubled(folder: Location) -> bool:
    """Whether the folder is that of a plan with a shard that is not done and whose worker died.

    Only while no worker is processing the plan.
    """
    names = names_in(folder)
    done = {name.removesuffix(DONE) for name in names if name.endswith(DONE)}
    return any(
        not former.released
        for name, numbers in lease_numbers(names).items()
        if name not in done
        for former in former_leases(folder, name, numbers)
    )


def clean(worker: Worker, *, everything: bool = False) -> None:
    """Remove what dead workers and plans have left in the folder of a worker.

    Only while no other worker is processing a plan. Raises OSError.

    Args:
        worker: this process.
        everything: also plans that say at which images workers died.
    """
    for id in worker.others():
        if not worker.alive(id):
            (worker.folder / f"{id}{WORKER}").unlink(missing_ok=True)
    for entry in [*worker.folder.iterdir()]:
        if entry.name.startswith(CLEARED) or is_part(entry):
            entry.unlink(missing_ok=True)
        elif entry.is_dir() and not entry.is_symlink() and (everything or not troubled(entry)):
            remove_tree(entry)


class Shard:
    """A shard that this worker has under a lease.

    Attributes:
        samples: the images that remain.
        alone: whether they must be processed one at a time, because a worker died with the shard.
    """

    def __init__(self, shards: Shards, lease: Lease, samples: Sequence[Sample]) -> None:
        self._shards, self._lease = shards, lease
        self._left = len(samples)
        self._counting = threading.Lock()
        self.samples = samples
        self.alone = any(not former.released for former in lease.former)

    def held(self) -> bool:
        """Whether no other worker has taken the shard over."""
        return self._shards.leases.held(self._lease)

    def deaths(self, sample: Sample) -> int:
        """Number of workers that died while processing this image alone."""
        return sum(former.image == sample.id and not former.released for former in self._lease.former)

    def note(self, sample: Sample) -> None:
        """Record that this image is now processed alone."""
        self._shards.leases.note(self._lease, sample.id)

    def recorded(self) -> None:
        """Count an image whose record is written; the last one commits the shard. May be called from threads."""
        with self._counting:
            self._left -= 1
            if not self._left:
                self.commit()

    def commit(self) -> None:
        """Mark the shard as done; repeating that does no harm."""
        self._shards.commit(self._lease)

    def release(self) -> None:
        """Give the shard back."""
        self._shards.leases.release(self._lease)


class _Listing(NamedTuple):
    leases: dict[str, list[int]]  # numbers by name
    done: set[int]


class Shards:
    """The shards of a plan, for one worker.

    Args:
        folder: the folder of the plan.
        plan: the plan.
        samples: all its images.
        worker: this process.
        finished: given images and workers, the ids of those images that these workers have finished.
        flush: called before a shard is committed: writes the records of its images.
    """

    def __init__(
        self,
        folder: Location,
        plan: Plan,
        samples: Sequence[Sample],
        worker: Worker,
        finished: Callable[[Sequence[Sample], Sequence[str]], frozenset[str]],
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.leases = plan, Leases(folder, worker)
        self._folder, self._samples, self._finished, self._flush = folder, samples, finished, flush
        self._todo = plan.bits()
        self._mine: dict[str, Shard] = {}
        self._changing = threading.Lock()

    @property
    def skipped(self) -> int:
        """Number of images that were finished before."""
        return int(len(self._todo) - self._todo.sum())

    def fresh(self) -> Iterator[Shard]:
        """The shards that no worker has had, each under a lease."""
        listed = self._listing()
        for index in self._indices():
            if listed is None or str(index) in listed.leases or index in listed.done or self._done(index):
                continue
            lease = self._take(index)
            if lease is not None:
                yield self._shard(index, lease)

    def rest(self, interrupted: Callable[[], bool] = lambda: False) -> Iterator[Shard]:
        """The other shards that are not done: those of workers that died or gave them back. Waits for those of living
        workers, until all are done.

        Raises KeyboardInterrupt if interrupted while waiting.
        """
        while (listed := self._listing()) is not None:
            remaining = [index for index in self._indices() if index not in listed.done]
            if not remaining:
                return
            none = True
            for index in remaining:
                lease = self._take(index, listed.leases.get(str(index), ()))
                if lease is not None:
                    none = False
                    yield self._shard(index, lease)
            if none and interrupted():
                raise KeyboardInterrupt
            if none:
                time.sleep(poll(self._folder))

    def commit(self, lease: Lease) -> None:
        """Mark a shard as done."""
        with self._changing:
            self._mine.pop(lease.name, None)
        self._flush()
        try:
            write_once(self._folder / f"{lease.name}{DONE}", b"")
            self.leases.forget(lease.name, range(1, lease.number + 1))
        except FileNotFoundError:  # all was done by others, who took this worker for dead
            pass

    def release(self) -> None:
        """Give back the shards that this worker still has."""
        with self._changing:
            mine = [*self._mine.values()]
            self._mine.clear()
        for shard in mine:
            with suppress(OSError):  # such as a full disk; then the next worker takes it for that of a dead one
                self._flush()
                shard.release()

    def complete(self) -> bool:
        """Whether all shards are done."""
        return all(self._done(index) for index in self._indices())

    def reopen(self, todo: np.ndarray) -> None:
        """Open the shards of these images, bool (images,), again, and forget who had the others.

        Only while no worker is processing the plan.
        """
        self._todo = todo
        names = {str(index) for index in self._indices()}
        for name in names:
            (self._folder / f"{name}{DONE}").unlink(missing_ok=True)
        for name, numbers in lease_numbers(names_in(self._folder)).items():
            if name not in names:
                self.leases.forget(name, numbers)

    def _indices(self) -> Iterator[int]:
        """The shards with anything to do."""
        size = self.plan.size
        starts = np.arange(0, len(self._todo), size)
        if len(starts):
            yield from np.flatnonzero(np.add.reduceat(self._todo, starts)).tolist()

    def _done(self, index: int) -> bool:
        return (self._folder / f"{index}{DONE}").exists()

    def _listing(self) -> _Listing | None:
        """What the folder contains; None if it is gone, because all was done."""
        names = names_in(self._folder)
        if not names and not self._folder.is_dir():
            return None
        return _Listing(lease_numbers(names), {int(name[: -len(DONE)]) for name in names if name.endswith(DONE)})

    def _take(self, index: int, numbers: Sequence[int] = ()) -> Lease | None:
        lease = self.leases.take(str(index), numbers)
        if lease is not None and self._done(index):  # since it was looked at
            self.leases.forget(lease.name, [lease.number])
            return None
        return lease

    def _shard(self, index: int, lease: Lease) -> Shard:
        start = index * self.plan.size
        todo = np.flatnonzero(self._todo[start : start + self.plan.size]) + start
        samples = [self._samples[i] for i in todo.tolist()]
        if lease.former:
            finished = self._finished(samples, [former.worker for former in lease.former])
            samples = [sample for sample in samples if sample.id not in finished]
        shard = Shard(self, lease, samples)
        with self._changing:
            self._mine[lease.name] = shard
        if not samples:
            shard.commit()
        return shard
