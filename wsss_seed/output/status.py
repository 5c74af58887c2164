"""How far a run is, read from its folder while other processes write to it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import RunFolderError
from ..io.files import names_in
from ..io.source import Location
from .leases import is_alive, workers
from .manifest import WORK, Latest, latest_of, manifest_files, part_files
from .run_folder import existing_run, fingerprint
from .shards import joined, read_plan

RECENT = 600.0
"""Seconds on whose images the rate is measured."""


@dataclass(frozen=True)
class ShardStatus:
    """How far a shard of ``generate --shard`` is. Its images of earlier runs, which the manifest has, count for the run
    only.

    Attributes:
        shard: (number from 1, number of shards).
        done: number of images with a mask.
        failed: number of images without one.
        running: whether a living process is at it.
        last: when the latest image was finished, in seconds since 1970; None without any.
    """

    shard: tuple[int, int]
    done: int
    failed: int
    running: bool
    last: float | None


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        run: the folder.
        planned: number of images; None if the run does not say.
        done: number of images with a mask.
        failed: number of images that have none for now; the next run tries them again.
        running: whether a living process is writing to the folder.
        workers: number of these processes.
        stale: number of processes that died without being replaced; the next command takes over.
        rate: images per second of all processes over the last ten minutes; None if nothing is running or known.
        seconds_left: estimate from the rate; None without one.
        last: when the latest image was finished, in seconds since 1970; None without any.
        shards: those that processes have begun and the run has not merged yet.
    """

    run: Location
    planned: int | None
    done: int
    failed: int
    running: bool
    workers: int
    stale: int
    rate: float | None
    seconds_left: float | None
    last: float | None
    shards: tuple[ShardStatus, ...]

    @property
    def left(self) -> int | None:
        """Number of images not processed yet."""
        return None if self.planned is None else max(0, self.planned - self.done - self.failed)

    @property
    def complete(self) -> bool:
        """Whether every planned image was processed."""
        return self.left == 0

    def to_json(self) -> dict[str, Any]:
        """The status as plain JSON values."""
        return {**asdict(self), "run": str(self.run), "left": self.left, "complete": self.complete}


def status(run: Location, now: float | None = None) -> RunStatus:
    """The status of a run folder, from its manifest and what its workers have recorded.

    Args:
        run: the folder.
        now: the time in seconds since 1970; by default the current one.

    Raises:
        RunFolderError: not a run folder, another layout, or a manifest that cannot be read.
    """
    about = existing_run(run)
    now = time.time() if now is None else now
    own = fingerprint(about["settings"])
    shards: list[ShardStatus] = []
    try:
        living = {id: is_alive(run / WORK, id) for id in workers(run / WORK)}
        latest = latest_of(manifest_files(run), own)
        for name in names_in(run / WORK):
            plan = None if "." in name else read_plan(run / WORK / name)
            if plan is not None and plan.part[1] > 1:
                at_it = joined(run / WORK / name)
                of_part = latest_of(part_files(run, at_it), own)
                running = any(living.get(id, False) for id in at_it)
                shards.append(ShardStatus(plan.part, *_counts(of_part), running, _last(of_part)))
    except OSError as error:
        raise RunFolderError(f"{run}: its manifest cannot be read ({error.strerror or error})") from None
    running = any(living.values())
    done, failed = _counts(latest)
    planned = about.get("planned")
    if not isinstance(planned, int):
        planned = (about.get("totals") or {}).get("images")
    rate = _rate(latest, now) if running else None
    left = None if planned is None else max(0, planned - done - failed)
    return RunStatus(
        run=run,
        planned=planned,
        done=done,
        failed=failed,
        running=running,
        workers=sum(living.values()),
        stale=len(living) - sum(living.values()),
        rate=rate,
        seconds_left=left / rate if rate and left else None,
        last=_last(latest),
        shards=tuple(sorted(shards, key=_place)),
    )


def missing_shards(found: RunStatus) -> tuple[int, ...]:
    """Numbers of the shards that no process has begun, among as many as the others say; empty without shards."""
    counts = {shard.shard[1] for shard in found.shards}
    if len(counts) != 1:
        return ()
    begun = {shard.shard[0] for shard in found.shards}
    return tuple(number for number in range(1, counts.pop() + 1) if number not in begun)


def _place(shard: ShardStatus) -> tuple[int, int]:
    return shard.shard[1], shard.shard[0]


def _counts(records: Latest) -> tuple[int, int]:
    done = sum(records.ok)
    return done, len(records.ok) - done


def _last(records: Latest) -> float | None:
    return max(records.finished, default=None)


def _rate(records: Latest, now: float) -> float | None:
    """Images per second since the first of the recent ones, which is not counted."""
    recent = sorted(when for when in records.finished if when >= now - RECENT)
    seconds = now - recent[0] if recent else 0.0
    return (len(recent) - 1) / seconds if len(recent) > 1 and seconds > 0 else None
