"""One process a device, all at one task: each does its part and tells this process how far it is."""

from __future__ import annotations

import multiprocessing
import signal
import sys
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
from ..io.signals import ignore_terminal_signals, on_signal

R = TypeVar("R")
Task = Callable[[str, tuple[int, int], Reporter], R]


@dataclass
class Worker(Generic[R]):
    """What is known of the process of a device.

    Attributes:
        device: its device.
        shard: its part, (index from 0, n).
        result: what the task returned; None if it did not come so far.
        begun: how many images it was to do, and how many of them needed nothing more; None before it knows.
        steps: for each image that it worked off since whether it failed.
        exit_code: of the process; negative if a signal ended it.
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
    """Do a task on several devices at once, each in a process of its own.

    A process that dies leaves the others at work. Ctrl-C, SIGTERM and SIGHUP interrupt all, which finish what they are
    writing; a second Ctrl-C kills them.

    Args:
        task: is given a device, a shard and where to report; picklable, as is what it returns.
        devices: one process for each, also where it is named twice.
        shard: what part of the whole all of them together do, (index from 0, n).
        progress: shows how far they are together.

    Returns:
        The workers, and whether they were interrupted.

    Raises:
        WsssError: one of them met what is not about one image; the others were interrupted.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads, locks and the GPU's context
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
            process = context.Process(target=_work, args=(task, device, worker.shard, len(devices), there), daemon=True)
            with ignore_terminal_signals():
                process.start()
            there.close()  # else its end would not be seen here
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
    """The progress of several workers as one, which begins when all know what they have to do."""

    def __init__(self, workers: Any, progress: Progress) -> None:
        self._waiting = {id(worker): worker for worker in workers}
        self._workers = list(workers)
        self._progress = progress

    def receive(self, worker: Worker[Any], kind: str, value: Any) -> None:
        """Take down what a worker reports."""
        if kind == "start":
            worker.begun = value
            self.stop_waiting(worker)
        elif kind == "step":
            worker.steps.append(value)
            if not self._waiting:
                self._progress.step(failed=value)
        elif kind == "warn":
            self._progress.warn(value)
        elif kind == "result":
            worker.result = value

    def stop_waiting(self, worker: Worker[Any]) -> None:
        """Wait for it no longer."""
        if self._waiting.pop(id(worker), None) is None or self._waiting:
            return
        begun = [w.begun for w in self._workers if w.begun]
        if begun:
            self._progress.start(sum(total for total, _ in begun), sum(finished for _, finished in begun))
            for failed in (failed for w in self._workers for failed in w.steps):
                self._progress.step(failed=failed)


class _Report:
    """Progress that is shown by another process."""

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


def _work(task: Task[R], device: str, shard: tuple[int, int], processes: int, pipe: Connection) -> None:
    """The life of a process. A parent that is gone ends it: the next report finds the pipe broken."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    report = _Report(pipe)
    kind: str
    value: object
    try:
        kind, value = "result", task(device, shard, report)
    except WsssError as error:
        kind, value = "error", error
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        traceback.print_exc()
        kind, value = "error", UsageError(f"the process on {device} failed: {type(error).__name__}: {error}")
    with suppress(BrokenPipeError):
        report.send(kind, value)
