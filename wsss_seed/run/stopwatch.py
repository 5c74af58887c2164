"""Seconds and operations of the stages of a computation, measured by wrapping the methods that it calls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import GeneratorType, TracebackType
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode


class _Span(NamedTuple):
    """A stretch of time, between two readings of ``perf_counter`` or two events of a GPU."""

    stage: str
    begin: Any
    end: Any
    flops: int


class Stopwatch:
    """Seconds per stage, each without the stages inside it. Use as a context manager, which unwraps at its end.

    On a GPU the marks between stages are events in its stream, which do not wait for it: a stage lasts from where the
    GPU reaches one mark to where it reaches the next. Threads are measured separately.

    Args:
        device: device of what is measured.
    """

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._spans: list[_Span] = []
        self._here = threading.local()
        self._wrapped = ExitStack()
        self._counter: FlopCounterMode | None = None

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wrapped.close()

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self._device.type == "cuda"

    @contextmanager
    def stage(self, name: str, *, host: bool = False) -> Iterator[None]:
        """Measure what runs inside as a stage.

        Args:
            name: its name.
            host: whether it uses no GPU; so then are all stages of its thread.
        """
        if not hasattr(self._here, "open"):
            self._here.open = []
        stages: list[str] = self._here.open
        self._mark(host)
        stages.append(name)
        try:
            yield
        finally:
            self._mark(host)
            stages.pop()

    def _mark(self, host: bool) -> None:
        """End the span of the innermost stage of this thread, and begin another."""
        now: Any = time.perf_counter()
        if self.gpu and not host:
            now = torch.cuda.Event(enable_timing=True)
            now.record(torch.cuda.current_stream(self._device))
        flops = 0 if self._counter is None else self._counter.get_total_flops()
        if self._here.open:
            begin, before = self._here.last
            self._spans.append(_Span(self._here.open[-1], begin, now, flops - before))
        self._here.last = now, flops

    def wrap(self, owner: Any, method: str, name: str, *, host: bool = False) -> None:
        """Measure every call of a method, of an object or of all objects of a class, as a stage.

        What a generator computes is part of it, and so is a method ``low_res`` of what it yields: of points, SAM
        computes the masks only when they are asked for.
        """
        self.replace(owner, method, self._timed(getattr(owner, method), name, host))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of an object, class or module until the end of the context."""
        own = vars(owner)
        if name in own:
            self._wrapped.callback(setattr, owner, name, own[name])
        else:
            self._wrapped.callback(delattr, owner, name)
        setattr(owner, name, value)

    def _timed(self, function: Callable[..., Any], name: str, host: bool) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            with self.stage(name, host=host):
                found = function(*args, **options)
            return self._each(found, name, host) if isinstance(found, GeneratorType) else found

        return timed

    def _each(self, items: Iterator[Any], name: str, host: bool) -> Iterator[Any]:
        while True:
            with self.stage(name, host=host):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield _TimedPoints(item, self._timed(item.low_res, name, host)) if hasattr(item, "low_res") else item

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Also count the floating-point operations of matrix products, convolutions and attention inside."""
        with FlopCounterMode(display=False) as counter:
            self._counter = counter
            try:
                yield
            finally:
                self._counter = None

    def read(self) -> tuple[Counter[str], Counter[str]]:
        """Seconds and operations per stage since the last reading."""
        if self.gpu:
            torch.cuda.synchronize(self._device)
        spans, self._spans = self._spans, []
        seconds: Counter[str] = Counter()
        flops: Counter[str] = Counter()
        for stage, begin, end, count in spans:
            seconds[stage] += end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
            flops[stage] += count
        return seconds, flops


class _TimedPoints:
    """``models.masks.PointMasks`` whose masks are measured."""

    def __init__(self, points: Any, low_res: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.iou: torch.Tensor = points.iou
        self.low_res = low_res
