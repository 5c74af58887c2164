"""One worker process per device, each processing a shard and reporting its progress to this process."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from ..errors import UsageError, WsssError
from ..io.progress import Progress, Reporter
from ..io.signals import ignore_terminal_signals, leave, on_signal

log = logging.getLogger(__name__)

R = TypeVar("R")
Task = Callable[[str, tuple[int, int], Reporter], R]


@dataclass
class Worker(Generic[R]):
    """State of the worker process of a device.

    Attributes:
        device: its device.
        shard: its shard, (0-based index, n).
        result: return value of the task; None if it did not return.
        begun: number of images of its shard, and how many of them were already finished; None until reported.
        steps: for each image processed since, whether it failed.
        exit_code: exit code of the process; negative if a signal ended it.
    """

    device: str
    shard: tuple[int, int]
    result: R | None = None
    begun: tuple[int, int] | None = None
    steps: list[bool] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def end(self) -> str:
        """How a process without a result ended."""
        code = self.exit_code or 0
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
        return f"the process on {self.device} {how}"


def on_devices(
    task: Task[R], devices: Sequence[str], shard: tuple[int, int], progress: Progress
) -> tuple[list[Worker[R]], bool]:
    """Run a task on several devices, with one process per device.

    If a process dies, the others continue. Ctrl-C, SIGTERM and SIGHUP interrupt all of them once their pending writes
    are finished; a second Ctrl-C kills them.

    Args:
        task: called with a device, a shard and a reporter; it and its return value must be picklable.
        devices: the devices; a device that is listed twice gets two processes.
        shard: the shard that the processes divide among themselves, (0-based index, n).
        progress: shows their combined progress.

    Returns:
        The workers, and whether they were interrupted.

    Raises:
        WsssError: a process failed in a way that would affect every image; the others were interrupted.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit threads, locks and the CUDA context
    processes: list[SpawnProcess] = []
    interrupts = 0

    def interrupt() -> None:
        nonlocal interrupts
        interrupts += 1
        for process in processes:
            if process.is_alive():
                process.terminate() if interrupts == 1 else process.kill()

    workers: dict[Any, Worker[R]] = {}
    error: WsssError | None = None
    with on_signal(interrupt):
        index, count = shard
        for place, device in enumerate(devices):
            worker = Worker[R](device, (index + count * place, count * len(devices)))
            here, there = context.Pipe(duplex=False)
            args = task, device, worker.shard, len(devices), log.getEffectiveLevel(), there
            process = context.Process(target=_work, args=args, daemon=True)
            with ignore_terminal_signals():
                process.start()
            there.close()  # otherwise the end of the process would not close the pipe
            processes.append(process)
            workers[here] = worker
        shown = _SharedProgress(workers.values(), progress)
        listening = list(workers)
        if interrupts:
            interrupt()
        while listening:
            pipe: Any
            for pipe in wait(listening):
                try:
                    kind, value = pipe.recv()
                except (EOFError, ConnectionError):
                    listening.remove(pipe)
                    shown.stop_waiting(workers[pipe])
                    continue
                if kind == "error":
                    error = error or value
                    for process in processes:
                        process.terminate()
                else:
                    shown.receive(workers[pipe], kind, value)
        for worker, process in zip(workers.values(), processes, strict=True):
            process.join()
            worker.exit_code = process.exitcode
    progress.stop()
    if error is not None:
        raise error
    return list(workers.values()), interrupts > 0


class _SharedProgress:
    """Combined progress of several workers, shown once all of them have reported their totals."""

    def __init__(self, workers: Any, progress: Progress) -> None:
        self._waiting = {id(worker): worker for worker in workers}
        self._workers = list(workers)
        self._progress = progress

    def receive(self, worker: Worker[Any], kind: str, value: Any) -> None:
        """Process a report of a worker."""
        if kind == "start":
            worker.begun = value
            self.stop_waiting(worker)
        elif kind == "step":
            worker.steps.append(value)
            if not self._waiting:
                self._progress.step(failed=value)
        elif kind == "warn":
            self._progress.warn(value)
        elif kind == "log":
            logging.getLogger(value.name).handle(value)
        elif kind == "result":
            worker.result = value

    def stop_waiting(self, worker: Worker[Any]) -> None:
        """Stop waiting for the total of a worker."""
        if self._waiting.pop(id(worker), None) is None or self._waiting:
            return
        begun = [w.begun for w in self._workers if w.begun]
        if begun:
            steps = [failed for w in self._workers for failed in w.steps]
            self._progress.start(sum(total for total, _ in begun), sum(finished for _, finished in begun), steps)


class _Report:
    """Reporter that sends progress to the parent process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, kind: str, value: object) -> None:
        with self._lock:
            self._pipe.send((kind, value))

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

    def __init__(self, report: _Report) -> None:
        super().__init__(report)  # type: ignore[arg-type]
        self._report = report

    def enqueue(self, record: logging.LogRecord) -> None:
        self._report.send("log", record)


def _work(task: Task[R], device: str, shard: tuple[int, int], processes: int, level: int, pipe: Connection) -> None:
    """Main function of a worker. If the parent dies, the next report fails on the broken pipe and ends the worker."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    report = _Report(pipe)
    ours = logging.getLogger(__name__.split(".")[0])
    ours.addHandler(_ToParent(report))
    ours.setLevel(level)
    kind: str
    value: object
    try:
        kind, value = "result", task(device, shard, report)
    except WsssError as error:
        kind, value = "error", error
    except KeyboardInterrupt:
        leave(130)
    except Exception as error:
        traceback.print_exc()
        kind, value = "error", UsageError(f"the process on {device} failed: {type(error).__name__}: {error}")
    with suppress(BrokenPipeError):
        report.send(kind, value)
    leave(0)
