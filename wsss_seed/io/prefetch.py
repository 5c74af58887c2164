"""Reading ahead and writing behind in threads, with bounded queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int
) -> Generator[tuple[T, Future[R]], None, None]:
    """``(item, future of function(item))`` in order, while threads process up to ``depth`` later items.

    At most ``depth`` + 1 results exist at a time. Close the iterator to cancel the remaining items.
    """
    todo = iter(items)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            waiting = deque((item, pool.submit(function, item)) for item in islice(todo, max(1, depth)))
            while waiting:
                ready = waiting.popleft()
                waiting.extend((item, pool.submit(function, item)) for item in islice(todo, 1))
                yield ready
                del ready  # frees the result before the next one is requested
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class BackgroundWriter(Generic[R]):
    """Runs functions in threads; ``submit`` blocks while ``depth`` of them, or more than ``limit`` bytes, are pending.

    The first error is raised by the next ``submit`` or at the end of the context. Leaving the context, even by an
    error, waits for everything submitted.
    """

    def __init__(self, *, workers: int, depth: int, limit: int = 2**28) -> None:
        self._pool = ThreadPoolExecutor(max(1, workers))
        self._depth, self._limit = max(1, depth), limit
        self._pending: deque[tuple[Future[R], int]] = deque()

    def submit(self, function: Callable[..., R], *args: Any, size: int = 0) -> None:
        """Run ``function(*args)``; ``size`` is what the arguments hold in bytes. One alone may exceed the limit."""
        while self._pending and (len(self._pending) >= self._depth or self._pending[0][0].done() or self._over(size)):
            self._pending.popleft()[0].result()
        self._pending.append((self._pool.submit(function, *args), size))

    def _over(self, size: int) -> bool:
        return size + sum(pending for _, pending in self._pending) > self._limit

    def __enter__(self) -> BackgroundWriter[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            while self._pending:
                self._pending.popleft()[0].result()
