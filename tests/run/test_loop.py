"""The loop over samples: order, isolation of errors, and what stops it."""

import pytest

from wsss_seed.data.base import Sample
from wsss_seed.errors import ImageError, UsageError
from wsss_seed.run.loop import process_samples

SAMPLES = [Sample(f"{i:02}") for i in range(12)]


def run(make=lambda loaded: loaded, load=lambda sample: sample.id):
    saved, failed = {}, {}
    process_samples(
        SAMPLES,
        load,
        make,
        lambda loaded, made, seconds: saved.update({loaded: (made, seconds)}),
        lambda sample, error, seconds: failed.update({sample.id: error}),
    )
    return saved, failed


def test_every_sample_is_made_once_and_in_order():
    order = []
    saved, failed = run(lambda loaded: order.append(loaded) or loaded.upper())
    assert order == [s.id for s in SAMPLES]
    assert set(saved) == set(order)
    assert failed == {}
    assert all(seconds >= 0 for _, seconds in saved.values())


def test_one_bad_sample_fails_alone():
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

    saved, failed = run(make, load)
    assert len(saved) == 8
    assert failed["03"] == "03: damaged"
    assert failed["05"].startswith("RuntimeError: two")
    assert failed["07"].startswith("out of memory")
    assert failed["09"] == "09: not there"


def test_an_error_of_every_image_stops_the_loop():
    def make(loaded):
        if loaded == "02":
            raise UsageError("the caption is too long")
        return loaded

    with pytest.raises(UsageError, match="caption"):
        run(make)
