"""Stages are measured by themselves, wherever the wrapped methods are called."""

import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from wsss_seed.run import stopwatch
from wsss_seed.run.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still until ``wait``."""
    now = SimpleNamespace(seconds=0.0)
    now.wait = lambda seconds: setattr(now, "seconds", now.seconds + seconds)
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now.seconds)
    return now


class Worker:
    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock

    def inner(self) -> str:
        self.clock.wait(2.0)
        return "done"

    def outer(self) -> str:
        self.clock.wait(1.0)
        found = self.inner()
        self.clock.wait(4.0)
        return found

    def each(self) -> Iterator[int]:
        for i in range(3):
            self.clock.wait(0.5)
            yield i


def test_a_stage_does_not_count_the_stages_inside_it(clock):
    worker = Worker(clock)
    with Stopwatch("cpu") as watch:
        watch.wrap(worker, "outer", "outer")
        watch.wrap(worker, "inner", "inner")
        clock.wait(100.0)
        assert worker.outer() == "done"
        assert worker.inner() == "done"
        assert watch.read()[0] == {"outer": 5.0, "inner": 4.0}
        assert watch.read() == (Counter(), Counter())


def test_a_generator_is_measured_while_it_computes(clock):
    worker = Worker(clock)
    with Stopwatch("cpu") as watch:
        watch.wrap(worker, "each", "each")
        found = []
        for i in worker.each():
            clock.wait(10.0)
            found.append(i)
        assert found == [0, 1, 2]
        assert watch.read()[0] == {"each": 1.5}


def test_masks_of_points_are_measured_when_they_are_asked_for(clock):
    class Points:
        iou = torch.ones(2, 3)

        def low_res(self, chosen: torch.Tensor) -> torch.Tensor:
            clock.wait(3.0)
            return chosen

    def decode() -> Iterator[Points]:
        yield Points()

    sam = SimpleNamespace(decode=decode)
    with Stopwatch("cpu") as watch:
        watch.wrap(sam, "decode", "decoder")
        for points in sam.decode():
            clock.wait(10.0)
            assert points.iou.shape == (2, 3)
            assert points.low_res(torch.ones(2, 3)).shape == (2, 3)
        assert watch.read()[0] == {"decoder": 3.0}


def test_methods_are_unwrapped_at_the_end(clock):
    worker = Worker(clock)
    before = Worker.inner
    with Stopwatch("cpu") as watch:
        watch.wrap(worker, "outer", "outer")
        watch.wrap(worker, "outer", "again")
        watch.wrap(Worker, "inner", "inner")
        assert Worker.inner is not before
    assert Worker.inner is before
    assert vars(worker) == {"clock": clock}


def test_an_error_ends_its_stage(clock):
    def fail() -> None:
        clock.wait(1.0)
        raise ValueError("no")

    broken = SimpleNamespace(fail=fail)
    with Stopwatch("cpu") as watch:
        watch.wrap(broken, "fail", "inner")
        with watch.stage("outer"):
            with pytest.raises(ValueError, match="no"):
                broken.fail()
            clock.wait(2.0)
        assert watch.read()[0] == {"inner": 1.0, "outer": 2.0}


def test_threads_are_measured_separately(clock):
    def work() -> None:
        with watch.stage("other", host=True):
            clock.wait(5.0)

    with Stopwatch("cpu") as watch:
        with watch.stage("main"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            clock.wait(1.0)
        assert watch.read()[0] == {"main": 6.0, "other": 5.0}


def test_operations_are_counted_per_stage():
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    with Stopwatch("cpu") as watch:
        with watch.stage("before"):
            a @ b
        with watch.counting(), watch.stage("outer"):
            a @ b
            with watch.stage("inner"), torch.inference_mode():
                torch.nn.functional.linear(a, b.T)
                torch.nn.functional.linear(a, b.T)
        assert watch.read()[1] == {"before": 0, "outer": 2 * 3 * 5 * 7, "inner": 2 * 2 * 3 * 5 * 7}
