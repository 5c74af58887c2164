"""A run as data, from which every process that does a part of it builds what it needs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.base import Dataset
from ..io.progress import Progress, Reporter
from ..models.zoo import versions
from ..output.manifest import Manifest
from ..output.run_folder import finalize
from ..seeding.backends import BackendRequest, build_seeder
from .generate import RunResult, generate
from .identity import identity, labels_digest
from .workers import on_devices

if TYPE_CHECKING:
    from ..models.zoo import ModelSet


@dataclass(frozen=True)
class RunPlan:
    """What a run is to do; nothing is loaded yet, and it can be sent to another process.

    Attributes:
        dataset: the images.
        models: the model set.
        backend: name of the backend.
        overrides: the user's settings of the backend, dotted key to value.
        out: the run folder.
        limit: do the first so many images.
        overwrite: make finished masks again.
        command: the command line, for the record.
    """

    dataset: Dataset
    models: ModelSet
    backend: str
    overrides: Mapping[str, Any]
    out: Path
    limit: int | None = None
    overwrite: bool = False
    command: str = ""


def do_part(plan: RunPlan, device: str, shard: tuple[int, int], progress: Reporter) -> RunResult:
    """Load the models on a device and seed every n-th image, (index from 0, n).

    Raises:
        WsssError: unusable models or settings, or see ``generate``.
    """
    data, models = plan.dataset, plan.models.on(device)
    seeder = build_seeder(plan.backend, BackendRequest(data.class_set, models, plan.overrides))
    for checkpoint in models.seen(data.name):
        progress.warn(
            f"{checkpoint.name} was trained on annotations of {data.name} ({checkpoint.data}): figures on {data.name} "
            "that it has a part in are neither label-free nor weakly supervised"
        )
    return generate(
        data,
        seeder,
        plan.out,
        settings=identity(data, {"name": plan.backend, **seeder.settings}, models),
        about={
            "versions": versions(),
            "device": models.device,
            "command": plan.command,
            "class_set": data.class_set.name,
            "labels": {"source": data.labels_source, "sha256": labels_digest(data)},
            "weights": models.weights(),
        },
        limit=plan.limit,
        shard=shard,
        overwrite=plan.overwrite,
        progress=progress,
    )


def do_run(plan: RunPlan, devices: Sequence[str], shard: tuple[int, int], progress: Progress) -> RunResult:
    """Seed every n-th image, (index from 0, n), here, or on several devices with a process for each.

    The processes share the folder as shards do. Images that one left undone when it died are failed; the next run does
    them.

    Raises:
        WsssError: see ``do_part``.
    """
    if len(devices) == 1:
        return do_part(plan, devices[0], shard, progress)
    start = time.monotonic()
    index, count = shard
    ids = [sample.id for sample in plan.dataset.samples[: plan.limit][index::count]]
    workers, interrupted = on_devices(partial(do_part, plan), devices, shard, progress)
    results = [worker.result for worker in workers if worker.result is not None]
    failed = dict(pair for result in results for pair in result.failed)
    dead = [worker for worker in workers if worker.result is None]
    finalized = any(result.finalized for result in results)
    if not finalized:
        data = plan.dataset
        finalized = finalize(plan.out, data.class_set, data.split or "all", [sample.id for sample in data.samples])
    if dead and not interrupted:
        with Manifest(plan.out) as manifest:
            done = {name for name, record in manifest.items() if record.status == "ok"}
        for place, worker in enumerate(workers):
            if worker.result is None:
                left = (name for name in ids[place :: len(devices)] if name not in done)
                failed |= dict.fromkeys(left, f"not done: {worker.end}; give the same command again")
    return RunResult(
        out=plan.out,
        ids=tuple(ids),
        skipped=sum(r.skipped for r in results) + sum(w.begun[1] for w in dead if w.begun),
        made=sum(r.made for r in results) + sum(w.steps.count(False) for w in dead),
        failed=tuple((name, failed[name]) for name in ids if name in failed),
        seconds=time.monotonic() - start,
        interrupted=interrupted or any(result.interrupted for result in results),
        finalized=finalized,
        kept=tuple(name for result in results for name in result.kept),
        replaced=tuple(name for result in results for name in result.replaced),
    )
