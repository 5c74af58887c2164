"""One worker process per device, which all do the same task and report their progress to this process."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from ..errors import UsageError, WsssError
from ..io.progress import Progress, Reporter
from ..io.signals import ignore_terminal_signals, leave, on_signal

log = logging.getLogger(__name__)

R = TypeVar("R")
Task = Callable[[str, Reporter], R]

MOST_DEATHS = 3
"""Number of processes in a row that may die on a device without processing an image."""


@dataclass
class Worker(Generic[R]):
    """State of the worker processes of a device, of which each replaces one that died.

    Attributes:
        device: its device.
        result: return value of the task; None if it did not return.
        begun: total number of images, and how many of them were already finished; None until reported.
        made: number of images processed.
        failed: number of images that failed.
        deaths: number of processes that died.
        fruitless: number of those that died since the last image.
        end: how the last process ended if there is no result.
    """

    device: str
    result: R | None = None
    begun: tuple[int, int] | None = None
    made: int = 0
    failed: int = 0
    deaths: int = 0
    fruitless: int = 0
    end: str = ""


class Crew(Generic[R]):
    """What the workers of a command report, and what follows from it, whichever engine runs them.

    Args:
        devices: the device of each worker.
        progress: shows their combined progress.

    Attributes:
        workers: their states.
        error: an error that would affect every image; None without one.
        begun: whether a worker has reported its total.
    """

    def __init__(self, devices: Sequence[str], progress: Progress) -> None:
        self.workers = [Worker[R](device) for device in devices]
        self.error: WsssError | None = None
        self._progress = progress
        self.begun = False

    def receive(self, worker: Worker[R], kind: str, value: Any, *, others: bool) -> bool:
        """Process a report of a worker.

        Args:
            worker: the worker.
            kind: ``start``, ``step``, ``warn``, ``log``, ``result`` or ``error``.
            value: what it reports.
            others: whether other workers are at work.

        Returns:
            Whether all workers must stop.
        """
        if kind == "start":
            if not self.begun:
                self._progress.start(*value)
            self.begun = True
            worker.begun = value
        elif kind == "step":
            worker.fruitless = 0
            worker.made += not value
            worker.failed += value
            self._progress.step(failed=value)
        elif kind == "warn":
            self._progress.warn(value)
        elif kind == "log":
            logging.getLogger(value.name).handle(value)
        elif kind == "result":
            worker.result = value
        elif worker.deaths and others:  # for example a device that has been lost
            worker.end, worker.fruitless = str(value), MOST_DEATHS
            self._progress.warn(worker.end)
        else:
            self.error = self.error or value
            return True
        return False

    def died(self, worker: Worker[R], how: str) -> bool:
        """Whether to replace a process that has ended without a result.

        Args:
            worker: the worker.
            how: how it ended.
        """
        worker.end = worker.end or how
        if worker.result is not None or self.error is not None:
            return False
        worker.deaths += 1
        worker.fruitless += 1
        if worker.fruitless >= MOST_DEATHS:
            return False
        self._progress.warn(f"{worker.end}; another one takes over")
        worker.end = ""
        return True


def on_devices(task: Task[R], devices: Sequence[str], progress: Progress) -> tuple[list[Worker[R]], bool]:
    """Run a task on several devices, with one process per device.

    A process that dies is replaced, unless ``MOST_DEATHS`` in a row died without processing an image. Ctrl-C, SIGTERM
    and SIGHUP interrupt all of them once their pending writes are finished; a second Ctrl-C kills them.

    Args:
        task: called with a device and a reporter; it and its return value must be picklable.
        devices: the devices; a device that is listed twice gets two processes.
        progress: shows their combined progress.

    Returns:
        The workers, and whether they were interrupted.

    Raises:
        WsssError: a process failed in a way that would affect every image; the others were interrupted. A process that
            replaces another may fail as long as others remain.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit threads, locks and the CUDA context
    crew = Crew[R](devices, progress)
    processes: dict[Any, tuple[Worker[R], SpawnProcess]] = {}
    interrupts = 0

    def start(worker: Worker[R]) -> None:
        here, there = context.Pipe(duplex=False)
        args = task, worker.device, len(devices), log.getEffectiveLevel(), there
        process = context.Process(target=_work, args=args, daemon=True)
        with ignore_terminal_signals():
            process.start()
        there.close()  # otherwise the end of the process would not close the pipe
        processes[here] = worker, process

    def interrupt() -> None:
        nonlocal interrupts
        interrupts += 1
        for _, process in processes.values():
            if process.is_alive():
                process.terminate() if interrupts == 1 else process.kill()

    with on_signal(interrupt):
        for worker in crew.workers:
            start(worker)
        if interrupts:
            interrupt()
        while processes:
            pipe: Any
            for pipe in wait([*processes]):
                worker, process = processes[pipe]
                try:
                    report = pipe.recv()
                except (EOFError, ConnectionError):
                    process.join()
                    del processes[pipe]
                    how = f"the process on {worker.device} {_how(process.exitcode or 0)}"
                    if not interrupts and crew.died(worker, how):
                        start(worker)
                    continue
                if crew.receive(worker, *report, others=len(processes) > 1):
                    for _, other in processes.values():
                        other.terminate()
    progress.stop()
    if crew.error is not None:
        raise crew.error
    return crew.workers, interrupts > 0


def _how(code: int) -> str:
    """How a process without a result ended."""
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"


class Report:
    """Reporter that sends progress, and log records, to the process that supervises.

    Args:
        send: sends what is reported and a value; need not be safe to call from several threads.
    """

    def __init__(self, send: Callable[[tuple[str, object]], None]) -> None:
        self._send, self._lock = send, threading.Lock()

    def send(self, kind: str, value: object) -> None:
        with self._lock:
            self._send((kind, value))

    def start(self, total: int, finished: int) -> None:
        self.send("start", (total, finished))

    def step(self, *, failed: bool = False) -> None:
        self.send("step", failed)

    def warn(self, text: str) -> None:
        self.send("warn", text)

    def stop(self) -> None:
        pass


class _ToParent(logging.handlers.QueueHandler):
    """Sends log records to the parent process, which handles them."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)  # type: ignore[arg-type]
        self._report = report

    def enqueue(self, record: logging.LogRecord) -> None:
        self._report.send("log", record)


def outcome(task: Task[R], device: str, processes: int, level: int, report: Report) -> tuple[str, object]:
    """Run a task in a worker.

    Args:
        task: the task.
        device: its device.
        processes: number of workers that share the processor.
        level: log records from this level on are reported.
        report: receives progress and log records.

    Returns:
        ``result`` and what the task returned, or ``error`` and a WsssError. KeyboardInterrupt passes.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    ours = logging.getLogger(__name__.split(".")[0])
    ours.addHandler(_ToParent(report))
    ours.setLevel(level)
    try:
        return "result", task(device, report)
    except WsssError as error:
        return "error", error
    except Exception as error:
        traceback.print_exc()
        return "error", UsageError(f"the process on {device} failed: {type(error).__name__}: {error}")


def _work(task: Task[R], device: str, processes: int, level: int, pipe: Connection) -> None:
    """Main function of a worker. If the parent dies, the next report fails on the broken pipe and ends the worker."""
    report = Report(pipe.send)
    try:
        kind, value = outcome(task, device, processes, level, report)
    except KeyboardInterrupt:
        leave(130)
    with suppress(BrokenPipeError):
        report.send(kind, value)
    leave(0)
