"""Workers on a Ray cluster (docs.ray.io): actors that do the same task and report to this process.

Ray only decides where workers run. What each of them processes is decided by leases in the run folder, which all nodes
must see; neither images nor masks pass through Ray's object store, only the description of the run with its ids. So
a dead node costs what its workers had in hand, and a run that began here may be continued without Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__
from ..errors import UsageError
from ..io.extras import install_command, missing_modules
from ..io.progress import Progress
from ..io.signals import on_signal, request_stop
from ..io.source import Location
from .workers import Crew, Report, Task, Worker, outcome

log = logging.getLogger(__name__)

R = TypeVar("R")

POLL = 0.5
"""Most seconds between an interrupt and its handling."""

PATIENCE = 10.0
"""Seconds after which a worker that finds no free resources is mentioned."""


@dataclass(frozen=True)
class Cluster:
    """Where workers run, and what each of them gets.

    Attributes:
        address: address of the cluster, ``auto`` for the one on this machine; None for that or, if there is none, a new
            local one.
        workers: number of workers; None for as many as there are resources for.
        gpus: GPUs of a worker; None for one if the cluster has any. Of fractions, as of 1 / k, k workers share one.
        cpus: processors of a worker.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    cpus: float = 2.0


def on_ray(
    task: Task[R], cluster: Cluster, shared: Sequence[Location], progress: Progress
) -> tuple[list[Worker[R]], bool]:
    """Run a task in actors of a cluster; like ``workers.on_devices``.

    Args:
        task: called with ``cuda`` or ``cpu`` and a reporter; it and its return value must be picklable.
        cluster: where.
        shared: files that all nodes must see; those on object storage are not looked for.
        progress: shows their combined progress.

    Returns:
        The workers, and whether they were interrupted.

    Raises:
        UsageError: the extra is not installed; no cluster, or one without the resources; nodes with another version,
            or that do not see the files.
        WsssError: a worker failed in a way that would affect every image; the others were interrupted.
    """
    if missing_modules("ray"):
        raise UsageError(f"--engine ray needs an extra; install it with: {install_command('ray')}")
    import ray

    _connect(cluster.address)
    gpus, number = _divide(cluster, ray.cluster_resources())  # type: ignore[no-untyped-call]
    options = {"num_gpus": gpus, "num_cpus": cluster.cpus, "max_restarts": 0, "max_concurrency": 2}
    actors: Any = ray.remote(**options)(_Actor)  # type: ignore[call-overload]
    crew = Crew[R](["cuda" if gpus else "cpu"] * number, progress)
    files = tuple(str(path) for path in shared if isinstance(path, Path))
    given = ray.put((task, __version__, os.getcwd(), files, log.getEffectiveLevel()))
    # What each worker is asked: its reports, until the last one.
    asked: dict[Any, tuple[Worker[R], Any]] = {}
    interrupts = handled = 0
    silent = 0.0

    def start(worker: Worker[R]) -> None:
        actor = actors.remote(given, worker.device)
        asked[actor.reports.remote()] = worker, actor

    def interrupt() -> None:
        nonlocal interrupts
        interrupts += 1

    def stop() -> None:
        for _, actor in asked.values():
            actor.stop.remote() if interrupts < 2 else ray.kill(actor)

    with on_signal(interrupt):
        for worker in crew.workers:
            start(worker)
        while asked:
            ready, _ = ray.wait([*asked], timeout=POLL)
            if interrupts > handled:
                handled = interrupts
                stop()
            silent = 0.0 if ready or crew.begun else silent + POLL
            if silent == PATIENCE:
                progress.warn(
                    f"no worker has begun after {PATIENCE:.0f} s: the cluster starts them as soon as {cluster.cpus:g} "
                    f"CPUs and {gpus:g} GPUs are free"
                )
            for ref in ready:
                worker, actor = asked.pop(ref)
                try:
                    reports = ray.get(ref)
                except ray.exceptions.RayActorError as error:
                    how = f"a worker died ({_first(error)})"
                    if not interrupts and crew.died(worker, how):
                        start(worker)
                    continue
                ended = False
                for kind, value in reports:
                    ended = ended or kind in ("result", "error", "interrupted")
                    if kind != "interrupted" and crew.receive(worker, kind, value, others=bool(asked)):
                        stop()
                if ended:
                    ray.kill(actor)
                else:
                    asked[actor.reports.remote()] = worker, actor
    progress.stop()
    if crew.error is not None:
        raise crew.error
    return crew.workers, interrupts > 0


class _Actor:
    """A worker: does the task in a thread, whose reports it hands out.

    Args:
        given: the task, and of the driver the version, the working directory, the files, and the level of its log.
        device: the device.
    """

    def __init__(self, given: tuple[Task[Any], str, str, Sequence[str], int], device: str) -> None:
        self._reports: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(device, *given), daemon=True).start()

    def _work(self, device: str, task: Task[Any], version: str, folder: str, shared: Sequence[str], level: int) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        if version != __version__:
            error = f"node {platform.node()} has wsss-seed {__version__}, not {version} as here; install the same"
            self._reports.put(("error", UsageError(error)))
            return
        hidden = [path for path in shared if not os.path.lexists(path)]
        if hidden:
            error = f"{hidden[0]}: node {platform.node()} does not see it; use a folder that all nodes share"
            self._reports.put(("error", UsageError(error)))
            return
        try:
            self._reports.put(outcome(task, device, 1, level, Report(self._reports.put)))
        except KeyboardInterrupt:
            self._reports.put(("interrupted", None))

    def reports(self) -> list[tuple[str, object]]:
        """What has been reported since the last call; waits until there is anything."""
        found = [self._reports.get()]
        while not self._reports.empty():
            found.append(self._reports.get())
        return found

    def stop(self) -> None:
        """Interrupt the task once its pending writes are finished."""
        request_stop()


def _connect(address: str | None) -> None:
    """Connect to the cluster. Raises UsageError."""
    import ray

    if ray.is_initialized():
        return
    variables = {k: v for k, v in os.environ.items() if k.startswith("WSSS_SEED_") or k == "OMP_NUM_THREADS"}
    try:
        _answers(address)  # Ray itself would try for minutes
        ray.init(
            address=address,
            logging_level=logging.WARNING,
            log_to_driver=False,
            runtime_env={"env_vars": variables},
        )
    except Exception as error:
        where = address or "this machine"
        if "Version mismatch" in str(error):
            said = " ".join(str(error).partition("Version mismatch: ")[2].split())
            raise UsageError(f"the Ray cluster at {where} has other versions: {said} Use the same everywhere") from None
        hint = "start one with ray start --head, or leave --address out for a local one" if address else "see its logs"
        raise UsageError(f"no Ray cluster at {where} ({_first(error)}); {hint}") from None


def _answers(address: str | None) -> None:
    """Raise OSError if an address host:port does not answer."""
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal() and "://" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()


def _divide(cluster: Cluster, resources: Mapping[str, float]) -> tuple[float, int]:
    """GPUs of a worker, and number of workers. Raises UsageError."""
    has_gpus, has_cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
    gpus = cluster.gpus if cluster.gpus is not None else float(has_gpus > 0)
    fits = int(has_cpus / cluster.cpus) if cluster.cpus else 1
    if gpus:
        fits = min(fits, int(has_gpus / gpus)) if cluster.cpus else int(has_gpus / gpus)
    if not fits:
        raise UsageError(
            f"the cluster has {has_cpus:g} CPUs and {has_gpus:g} GPUs, too few for a worker with {cluster.cpus:g} CPUs "
            f"and {gpus:g} GPUs; lower --cpus-per-worker or --gpus-per-worker"
        )
    return gpus, cluster.workers or fits


def _first(error: Exception) -> str:
    """The first line of an error that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
