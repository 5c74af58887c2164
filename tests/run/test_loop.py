"""The loop over samples: order, isolation of errors, and what stops it."""

import os
import signal
import threading

import pytest

from wsss_seed.data.base import Sample
from wsss_seed.errors import ImageError, UsageError
from wsss_seed.run import loop
from wsss_seed.run.loop import process_samples

SAMPLES = [Sample(f"{i:02}") for i in range(12)]


def run(make=lambda loaded: loaded, load=lambda sample: sample.id, **options):
    saved, failed = {}, {}
    process_samples(
        SAMPLES,
        load,
        make,
        lambda loaded, made, seconds: saved.update({loaded: (made, seconds)}),
        lambda sample, error, seconds: failed.update({sample.id: error}),
        **options,
    )
    return saved, failed


def test_every_sample_is_made_once_and_in_order():
    order = []
    saved, failed = run(lambda loaded: order.append(loaded) or loaded.upper())
    assert order == [s.id for s in SAMPLES]
    assert set(saved) == set(order)
    assert failed == {}
    assert all(seconds >= 0 for _, seconds in saved.values())


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_one_bad_sample_fails_alone(batch):
    def make(loaded):
        if loaded == "03":
            raise ImageError("03: damaged")
        if loaded == "05":
            raise RuntimeError("two\nlines")
        if loaded == "07":
            raise MemoryError
        return loaded

    def load(sample):
        if sample.id == "09":
            raise ImageError("09: not there")
        return sample.id

    saved, failed = run(make, load, batch=batch)
    assert len(saved) == 8
    assert failed["03"] == "03: damaged"
    assert failed["05"].startswith("RuntimeError: two")
    assert failed["07"].startswith("out of memory")
    assert failed["09"] == "09: not there"


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_an_error_of_every_image_stops_the_loop(batch):
    def make(loaded):
        if loaded == "02":
            raise UsageError("the caption is too long")
        return loaded

    with pytest.raises(UsageError, match="caption"):
        run(make, batch=batch)


def test_samples_of_a_batch_are_processed_together():
    together = threading.Barrier(3, timeout=60)

    def make(loaded):
        together.wait()  # passes only if three samples are in hand
        return loaded

    saved, failed = run(make, batch=3)
    assert set(saved) == {s.id for s in SAMPLES}
    assert failed == {}
    assert len({threading.current_thread()} | {t for t in threading.enumerate() if t.name.startswith("image")}) == 1


def test_samples_of_a_batch_have_the_same_shape_where_possible():
    together = [threading.Barrier(4, timeout=60) for _ in range(3)]
    saved = []
    process_samples(
        SAMPLES,
        lambda sample: int(sample.id),
        lambda loaded: together[loaded % 3].wait() and loaded,  # passes only if four of a shape are in hand
        lambda loaded, made, seconds: saved.append(loaded),
        lambda sample, error, seconds: None,
        shape=lambda loaded: (loaded % 3,),
        batch=4,
    )
    assert sorted(saved) == list(range(12))


@pytest.mark.parametrize("most", [0, 250])
def test_large_samples_are_not_collected(monkeypatch, most):
    monkeypatch.setattr(loop, "_AHEAD_BYTES", most)
    drawn = []
    items = (drawn.append(i) or i for i in range(9))
    ordered = loop._by_shape(items, 4, lambda item: 100, lambda item: (-item,))
    assert next(ordered) == (0 if most == 0 else 2)
    assert drawn == list(range(1 if most == 0 else 3))


@pytest.mark.parametrize("batch", [1, 4])
def test_an_interrupt_keeps_what_was_made(batch):
    done = []

    def make(loaded):
        if loaded == "08":
            os.kill(os.getpid(), signal.SIGTERM)  # SIGINT is ignored in background jobs
        done.append(loaded)
        return loaded

    saved = {}
    with pytest.raises(KeyboardInterrupt):
        process_samples(
            SAMPLES,
            lambda sample: sample.id,
            make,
            lambda loaded, made, seconds: saved.update({loaded: made}),
            lambda sample, error, seconds: None,
            batch=batch,
        )
    assert set(saved) >= {"00", "01", "02", "03"}
    assert set(saved) < {s.id for s in SAMPLES}
