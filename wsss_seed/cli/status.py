"""``wsss-seed status``: how far a run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from . import options, show

if TYPE_CHECKING:
    from ..output.status import RunStatus

PAUSE = 5.0
"""Seconds between two looks with --watch."""


def status(
    run: options.RunOrUrl,
    watch: Annotated[
        bool, options.option("--watch", help="Print the status again whenever it changes, until nothing is running.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show how many images of a run are done and have failed, its rate, and the time left.

    It can be called while the run is in progress, from any machine that sees the folder.
    """
    from ..io.source import location
    from ..output.status import status as look

    place = location(run)
    found = look(place)
    _show(found, json)
    while watch and found.running and not found.complete:
        time.sleep(PAUSE)
        before, found = (found.done, found.failed, found.running), look(place)
        if (found.done, found.failed, found.running) != before:
            _show(found, json)


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _show(found: RunStatus, json: bool) -> None:
    if json:
        show.as_json(found.to_json())
        return
    from ..io.rate import duration, per_item
    from ..output.status import missing_shards

    total = "" if found.planned is None else f" of {found.planned}"
    parts = [f"{found.done}{total} images done"]
    parts += [f"{found.failed} failed"] * bool(found.failed)
    parts += [f"{found.left} left"] * bool(found.left)
    parts.append(f"running in {_processes(found.workers)}" if found.running else "not running")
    parts += [f"{_processes(found.stale)} died"] * bool(found.stale)
    if found.rate:
        parts.append(per_item(1 / found.rate, "image"))
    if found.seconds_left is not None:
        parts.append(f"about {duration(found.seconds_left)} left")
    show.result(", ".join(parts))
    if found.shards:
        now = time.time()
        show.table(
            "Shards",
            ["shard", "done", "failed", "state", "last image"],
            [
                [
                    f"{s.shard[0]}/{s.shard[1]}",
                    str(s.done),
                    str(s.failed),
                    "running" if s.running else "stopped",
                    "-" if s.last is None else f"{duration(max(0.0, now - s.last))} ago",
                ]
                for s in found.shards
            ],
        )
        missing = missing_shards(found)
        if missing:
            show.result(f"not begun: {', '.join(map(str, missing))}")
