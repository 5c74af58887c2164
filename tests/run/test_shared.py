"""The loop of a worker over its shards, and over those that dead workers have left."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.data.base import Sample
from wsss_seed.io.files import names_in
from wsss_seed.output.leases import Worker, lease_numbers
from wsss_seed.output.shards import MOST_DEATHS, Plan, Shards, pack
from wsss_seed.run.shared import DIED, SharedWork

SAMPLES = [Sample(f"{i:03}") for i in range(7)]


@pytest.fixture
def join(tmp_path):
    """A worker and its shards of three images."""
    made = []

    def worker():
        made.append(Worker(tmp_path / "work"))
        folder = tmp_path / "work/plan"
        folder.mkdir(exist_ok=True)
        plan = Plan((1, 1), len(SAMPLES), 3, pack(np.ones(len(SAMPLES), bool)))
        return made[-1], Shards(folder, plan, SAMPLES, made[-1], lambda some, workers: frozenset())

    yield worker
    for one in made:
        one.leave()


class Recorder:
    """Processes images by writing down which came together."""

    def __init__(self, shards: Shards, last: str = "") -> None:
        self.calls: list[list[str]] = []
        self.failed: dict[str, str] = {}
        self.last = last
        self.work = SharedWork(shards, self.process, self.give_up)

    def process(self, some):
        self.calls.append([])
        for sample in some:
            assert self.work.held(sample)
            if sample.id == self.last:
                raise KeyboardInterrupt
            self.calls[-1].append(sample.id)
            self.work.recorded(sample.id)

    def give_up(self, sample, error):
        self.failed[sample.id] = error
        self.work.recorded(sample.id)


def test_one_worker_does_everything_in_order(join):
    _, shards = join()
    recorder = Recorder(shards)
    recorder.work.run()
    assert recorder.calls == [[sample.id for sample in SAMPLES]]
    assert shards.complete()


def test_an_interrupted_worker_gives_back_what_it_has(join, tmp_path):
    _, shards = join()
    with pytest.raises(KeyboardInterrupt):
        Recorder(shards, last="001").work.run()
    _, others = join()
    recorder = Recorder(others)
    recorder.work.run()
    assert recorder.calls == [["003", "004", "005", "006"], ["000", "001", "002"]]  # not one by one: nobody died
    assert lease_numbers(names_in(tmp_path / "work/plan")) == {}


def test_what_a_dead_worker_had_comes_last_and_one_by_one(join):
    dead, shards = join()
    next(shards.fresh())
    dead.leave()
    _, others = join()
    recorder = Recorder(others)
    recorder.work.run()
    assert recorder.calls == [["003", "004", "005", "006"], ["000"], ["001"], ["002"]]
    assert not recorder.failed


def test_an_image_that_kills_its_worker_is_given_up(join):
    for i in range(1 + MOST_DEATHS):
        dead, shards = join()
        shard = next(shards.rest() if i else shards.fresh())
        if i:
            shard.note(SAMPLES[1])
        dead.leave()
    _, others = join()
    recorder = Recorder(others)
    recorder.work.run()
    assert recorder.failed == {"001": DIED}
    assert sorted(id for call in recorder.calls for id in call) == [s.id for s in SAMPLES if s.id != "001"]
    assert others.complete()
