"""Several images at a time: calls of a model from several threads, merged into one.

Each image of a group is processed by a thread of its own, in code that knows nothing of the others. Where it calls a
method made by ``merged``, it waits until all other threads of its group wait too or have finished; then their calls are
run as one, by the thread that iterates over ``in_groups``. So the steps of a pipeline need not be written for batches,
an image that fails leaves the others alone, and which images share a batch depends on their order alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import wraps
from itertools import islice
from types import MethodType
from typing import Any, NamedTuple, TypeVar

A = TypeVar("A")
B = TypeVar("B")

_here = threading.local()  # ``group`` and ``index`` in a thread of a group

_GROUPS = 2
"""Groups processed at a time: while the device computes for one, the processor computes for the other."""


class Outcome(NamedTuple):
    """What became of an item: its result or error, and its share of the wall time of its group in seconds."""

    future: Future[Any]
    seconds: float


def merged(method: Callable[[Any, list[A]], Sequence[B]]) -> Callable[[Any, A], B]:
    """Turn a method of a list of items into a method of one item, whose calls from a group are merged.

    Args:
        method: returns one result per item. If it raises an error, it is called again for each item alone.
    """

    @wraps(method)
    def single(self: Any, item: A) -> B:
        whole = MethodType(method, self)
        group: _Group | None = getattr(_here, "group", None)
        if group is None:
            found: B = whole([item])[0]
            return found
        result: B = group.call(whole, item)
        return result

    return single


class _Call(NamedTuple):
    function: Callable[[list[Any]], Sequence[Any]]
    item: Any
    future: Future[Any]


class _Group:
    """Items that are processed together.

    Args:
        function: processes an item.
        items: the items.
        threads: has a thread for each of them.
        changed: notified when a thread waits or ends.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        threads: ThreadPoolExecutor,
        changed: threading.Condition,
    ) -> None:
        self._changed = changed
        self._calls: dict[int, _Call] = {}
        self._running = len(items)
        self._cancelled = False
        self._begin = time.monotonic()
        self.items = items
        self.seconds = 0.0
        self.futures = [threads.submit(self._process, i, function, item) for i, item in enumerate(items)]

    def _process(self, index: int, function: Callable[[A], Any], item: A) -> Any:
        _here.group, _here.index = self, index
        try:
            return function(item)
        finally:
            _here.group = None
            with self._changed:
                self._running -= 1
                if not self._running:
                    self.seconds = (time.monotonic() - self._begin) / len(self.items)
                self._changed.notify()

    def call(self, function: Callable[[list[Any]], Sequence[Any]], item: Any) -> Any:
        """The result for an item; called from a thread of the group."""
        future: Future[Any] = Future()
        with self._changed:
            if self._cancelled:
                raise CancelledError
            self._calls[_here.index] = _Call(function, item, future)
            self._changed.notify()
        return future.result()

    @property
    def done(self) -> bool:
        return not self._running

    @property
    def ready(self) -> bool:
        """Whether all threads wait."""
        return bool(self._running) and len(self._calls) == self._running

    def take(self) -> list[_Call]:
        """The calls of all threads, in the order of the items."""
        calls = [self._calls[i] for i in sorted(self._calls)]
        self._calls = {}
        return calls

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            for call in self.take():
                call.future.set_exception(CancelledError())


def _run(calls: Sequence[_Call]) -> None:
    """Run calls, those of the same function as one."""
    same: dict[Callable[[list[Any]], Sequence[Any]], list[_Call]] = {}
    for call in calls:
        same.setdefault(call.function, []).append(call)
    try:
        for function, together in same.items():
            try:
                results = function([call.item for call in together])
            except Exception as error:
                if len(together) > 1:
                    for call in together:
                        _run([call])
                else:
                    together[0].future.set_exception(error)
            else:
                for call, result in zip(together, results, strict=True):
                    call.future.set_result(result)
    finally:  # after an interrupt, threads must not wait for ever
        for call in calls:
            if not call.future.done():
                call.future.set_exception(CancelledError())


def in_groups(function: Callable[[A], Any], items: Iterable[A], size: int) -> Generator[tuple[A, Outcome], None, None]:
    """Process items in groups of ``size``, consecutive ones together.

    Args:
        function: processes an item; called from this thread if ``size`` is 1, else from threads.
        items: drawn as they are needed.
        size: number of items of a group.

    Yields:
        Each item with what became of it, in order.
    """
    if size == 1:
        for item in items:
            begin, done = time.monotonic(), Future[Any]()
            try:
                done.set_result(function(item))
            except Exception as error:
                done.set_exception(error)
            yield item, Outcome(done, time.monotonic() - begin)
        return
    source = iter(items)
    groups: deque[_Group] = deque()
    changed = threading.Condition()
    with ThreadPoolExecutor(_GROUPS * size, "image") as threads:
        try:
            while True:
                while len(groups) < _GROUPS and (together := list(islice(source, size))):
                    groups.append(_Group(function, together, threads, changed))
                if not groups:
                    return
                with changed:
                    changed.wait_for(lambda: groups[0].done or any(group.ready for group in groups))
                    calls = next((group.take() for group in groups if group.ready), [])
                _run(calls)
                if groups[0].done:
                    group = groups.popleft()
                    for item, result in zip(group.items, group.futures, strict=True):
                        yield item, Outcome(result, group.seconds)
        finally:
            for group in groups:
                group.cancel()
