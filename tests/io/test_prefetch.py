"""Order, bounds and errors of what runs ahead and behind."""

from __future__ import annotations

import threading
import time

import pytest

from wsss_seed.io.prefetch import BackgroundWriter, prefetch_map


def test_ahead_keeps_order_and_isolates_errors():
    def invert(x):
        time.sleep(0.01 * (x % 3))
        return 1 / x

    results = {}
    for item, future in prefetch_map(invert, range(-3, 4), workers=4, depth=4):
        results[item] = future.exception() or future.result()
    assert list(results) == list(range(-3, 4))
    assert isinstance(results.pop(0), ZeroDivisionError)
    assert all(value == 1 / item for item, value in results.items())


def test_ahead_goes_no_further_than_its_depth():
    taken, started = [], []
    source = (taken.append(x) or x for x in range(100))
    items = prefetch_map(lambda x: started.append(x) or x, source, workers=2, depth=3)
    for _, future in (next(items), next(items)):
        future.result()
    assert taken == list(range(5))
    items.close()  # waits for what is under way
    assert taken == list(range(5))
    assert set(started) <= set(taken)


def test_ahead_of_nothing():
    assert list(prefetch_map(str, [], workers=2, depth=2)) == []


def test_behind_waits_for_room_and_for_the_end():
    done, lock, gate = [], threading.Lock(), threading.Event()

    def work(i):
        gate.wait()
        with lock:
            done.append(i)

    with BackgroundWriter(workers=2, depth=3) as behind:
        for i in range(3):
            behind.submit(work, i)
        blocked = threading.Thread(target=behind.submit, args=(work, 3))
        blocked.start()
        blocked.join(0.05)  # an opportunity to do wrong; however slow the machine, what is right does not fail
        assert blocked.is_alive()
        gate.set()
        blocked.join()
    assert sorted(done) == [0, 1, 2, 3]


def test_behind_waits_for_what_is_large():
    gate = threading.Event()
    with BackgroundWriter(workers=2, depth=3, limit=10) as behind:
        behind.submit(gate.wait, size=11)  # alone it may be larger than the limit
        blocked = threading.Thread(target=behind.submit, args=(gate.wait,), kwargs={"size": 1})
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive()
        gate.set()
        blocked.join()
        behind.submit(gate.wait, size=5)
        behind.submit(gate.wait, size=5)


def test_behind_tells_an_error_at_the_next_submit_or_the_end():
    def fail():
        raise OSError("full")

    def submit_until_refused():
        with BackgroundWriter(workers=1, depth=2) as behind:
            for _ in range(3):
                behind.submit(fail)
            pytest.fail("the error was not raised")

    with pytest.raises(OSError, match="full"):
        submit_until_refused()

    def tell_at_the_end():
        with BackgroundWriter(workers=1, depth=2) as behind:
            behind.submit(fail)

    with pytest.raises(OSError, match="full"):
        tell_at_the_end()


def test_behind_finishes_what_it_was_given_when_interrupted():
    done = []

    def interrupt():
        with BackgroundWriter(workers=1, depth=3) as behind:
            for i in range(3):
                behind.submit(lambda i: time.sleep(0.02) or done.append(i), i)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert done == [0, 1, 2]
