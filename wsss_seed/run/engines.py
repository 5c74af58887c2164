"""One run by several workers: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console

from ..data.base import Dataset, Sample
from ..data.samples import ids_of
from ..io.progress import Progress, Reporter
from ..io.source import Location
from ..output.manifest import Manifest
from ..output.run_folder import driving, finalize, unmerged
from .generate import RunResult
from .on_ray import Cluster, on_ray
from .workers import Task, Worker, on_devices

R = TypeVar("R")


class Part(Protocol):
    """What a worker does: loads its models on a device and processes part of the images of the run, under leases.

    Must be picklable. ``part`` is every n-th image, (0-based index, n); ``token`` identifies the command, which may
    have several workers.
    """

    def __call__(self, part: tuple[int, int], token: str, device: str, progress: Reporter | None) -> RunResult: ...


def is_alone(devices: Sequence[str], cluster: Cluster | None) -> bool:
    """Whether this process is the only worker."""
    return len(devices) == 1 and cluster is None


def run_workers(
    task: Task[R],
    data: Dataset,
    driver: Location,
    *,
    devices: Sequence[str],
    cluster: Cluster | None,
    progress: Progress | None,
) -> tuple[list[Worker[R]], bool]:
    """Start one process per device, or the actors of a cluster, and wait for them.

    Args:
        task: what each of them does; see ``on_devices``.
        data: the dataset, which all nodes of a cluster must see.
        driver: a file of this process in the folder that they share, absolute.
        devices: the devices.
        cluster: the cluster; None for the devices of this machine.
        progress: receives the progress.

    Returns:
        The workers, and whether they were interrupted.

    Raises:
        WsssError: see ``on_devices`` and ``on_ray``.
    """
    shown = progress or Progress(Console(quiet=True))
    if cluster is None:
        return on_devices(task, devices, shown)
    return on_ray(task, cluster, [driver, *_a_source(data)], shown)


def share(
    work: Part,
    data: Dataset,
    samples: Sequence[Sample],
    out: Location,
    *,
    part: tuple[int, int] = (0, 1),
    devices: Sequence[str] = ("auto",),
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Let workers do a run: this process on a single device, one process per device if there are several, or the actors
    of a cluster.

    If a worker dies, another one takes over. What remains if that does not help is reported as failed, and the next
    run processes it.

    Args:
        work: what a worker does.
        data: the dataset.
        samples: the images of the run.
        out: the run folder.
        part: the part of them to process, every n-th, (0-based index, n).
        devices: the devices.
        cluster: the cluster; None for the devices of this machine.
        progress: receives the progress.

    Raises:
        WsssError: see ``on_devices`` and ``on_ray``.
    """
    if is_alone(devices, cluster):
        return work(part, "", devices[0], progress)
    start = time.monotonic()
    index, count = part
    ids = ids_of(samples[index::count])
    finalized = False
    try:
        with driving(out) as (token, driver):
            task = partial(work, part, token)
            workers, interrupted = run_workers(task, data, driver, devices=devices, cluster=cluster, progress=progress)
    finally:
        if unmerged(out):
            finalized = finalize(out, data.class_set, data.split or "all", data.ids)
    results = [worker.result for worker in workers if worker.result is not None]
    failed = dict(pair for result in results for pair in result.failed)
    if any(worker.deaths for worker in workers) and not interrupted:
        with Manifest(out) as manifest:
            for id in ids:
                record = manifest.get(id)
                if record is None:
                    end = next((worker.end for worker in workers if worker.end), "its process died")
                    failed[id] = f"not processed: {end}; run the same command again"
                elif record.status != "ok":
                    failed[id] = record.error or ""
    begun = next((worker.begun for worker in workers if worker.begun), (len(ids), 0))
    return RunResult(
        out=out,
        ids=ids,
        skipped=begun[1],
        made=sum(worker.made for worker in workers),
        failed=tuple((id, failed[id]) for id in ids if id in failed),
        seconds=time.monotonic() - start,
        interrupted=interrupted or any(result.interrupted for result in results),
        finalized=finalized,
        kept=results[0].kept if results else (),
        replaced=results[0].replaced if results else (),
        turned=sum(result.turned for result in results),
    )


def _a_source(data: Dataset) -> list[Path]:
    """The file of an image, if the images are files."""
    return [sample.image.absolute() for sample in data.samples[:1] if sample.image is not None]
