"""The plan of a run: every image is one worker's at a time, and none is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.data.base import Sample
from wsss_seed.io.files import names_in
from wsss_seed.output import leases
from wsss_seed.output.leases import Worker, lease_numbers
from wsss_seed.output.shards import (
    MOST_DEATHS,
    Plan,
    Shards,
    join,
    joined,
    pack,
    plan_name,
    read_plan,
    shard_size,
    troubled,
    write_plan,
)

SAMPLES = [Sample(f"{i:03}") for i in range(10)]


def shards(folder, worker, todo=None, size=3, finished=()):
    bits = np.ones(len(SAMPLES), bool) if todo is None else np.isin(np.arange(len(SAMPLES)), todo)
    plan = Plan((1, 1), len(SAMPLES), size, pack(bits))
    folder.mkdir(exist_ok=True)
    return Shards(folder, plan, SAMPLES, worker, lambda some, workers: frozenset(finished))


@pytest.fixture
def crew(tmp_path):
    made = [Worker(tmp_path / "work") for _ in range(2)]
    yield made
    for worker in made:
        worker.leave()


def ids(shard):
    return [sample.id for sample in shard.samples]


def done(shard):
    for _ in shard.samples:
        shard.recorded()


@pytest.mark.parametrize(
    ("images", "number", "size"),
    [(0, None, 1), (1, None, 1), (256, None, 1), (257, None, 2), (10_582, None, 42), (10**6, None, 256), (10, 3, 4)],
)
def test_size_of_shards(images, number, size):
    assert shard_size(images, number) == size


def test_a_plan_travels_and_is_of_its_images_and_settings(tmp_path):
    plan = Plan((2, 4), 10, 3, pack(np.arange(10) % 3 == 0), ("a",), ("b",), "token", 5.0)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert plan.bits().tolist() == [i % 3 == 0 for i in range(10)]
    for damaged in (b"{", b'{"token": "\xff\xfe"}'):
        (tmp_path / "plan.json").write_bytes(damaged)
        assert read_plan(tmp_path) is None
    names = {plan_name("s", ["a", "b"]), plan_name("s", ["ab"]), plan_name("t", ["a", "b"]), plan_name("s", ["b", "a"])}
    assert len(names) == 4


def test_workers_share_what_is_to_be_done(tmp_path, crew):
    folder = tmp_path / "work/plan"
    first, second = (shards(folder, worker, todo=[0, 1, 4, 9]) for worker in crew)
    assert (first.skipped, first.complete()) == (6, False)
    mine, theirs = first.fresh(), second.fresh()
    one, two, three = next(mine), next(theirs), next(mine)
    assert [ids(one), ids(two), ids(three)] == [["000", "001"], ["004"], ["009"]]
    assert next(theirs, None) is None
    for shard in (one, two, three):
        assert shard.held()
        assert not shard.alone
        done(shard)
    assert first.complete()
    assert list(first.rest()) == []
    assert lease_numbers(names_in(folder)) == {}


def test_what_a_worker_gives_back_another_one_does(tmp_path, crew):
    folder = tmp_path / "work/plan"
    first, second = (shards(folder, worker, finished=["000"]) for worker in crew)
    next(first.fresh())
    first.release()
    for shard in second.fresh():
        done(shard)
    left = next(second.rest())
    assert (ids(left), left.alone) == (["001", "002"], False)  # the first one had finished 000
    done(left)
    assert not troubled(folder)


def test_what_dead_workers_had_is_done_one_by_one(tmp_path, crew):
    folder = tmp_path / "work/plan"
    for i in range(MOST_DEATHS + 1):
        dead = Worker(tmp_path / "work")
        mine = shards(folder, dead)
        shard = next(mine.rest() if i else mine.fresh())
        if shard.alone:
            shard.note(SAMPLES[1])
        dead.leave()
    assert troubled(folder)
    last = shards(folder, crew[0])
    for shard in last.fresh():
        done(shard)
    left = next(last.rest())
    assert left.alone
    assert [left.deaths(sample) for sample in left.samples] == [0, MOST_DEATHS, 0]
    done(left)
    assert not troubled(folder)


def test_a_shard_of_a_dead_worker_that_had_finished_it_is_committed(tmp_path, crew):
    folder = tmp_path / "work/plan"
    dead = Worker(tmp_path / "work")
    next(shards(folder, dead).fresh())
    dead.leave()
    last = shards(folder, crew[0], finished=["000", "001", "002"])
    for shard in last.fresh():
        done(shard)
    assert [ids(shard) for shard in last.rest()] == [[]]
    assert last.complete()


def test_waiting_for_a_living_worker_can_be_interrupted(tmp_path, crew, monkeypatch):
    monkeypatch.setattr(leases, "POLL", 0.001)
    folder = tmp_path / "work/plan"
    next(shards(folder, crew[0]).fresh())
    other = shards(folder, crew[1])
    for shard in other.fresh():
        done(shard)
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        next(other.rest(lambda: next(asked)))


def test_a_plan_that_is_opened_again(tmp_path, crew):
    folder = tmp_path / "work/plan"
    first = shards(folder, crew[0])
    for shard in first.fresh():
        done(shard)
    dead = Worker(tmp_path / "work")
    again = shards(folder, crew[0])
    again.reopen(np.arange(10) == 4)
    assert [ids(shard) for shard in again.fresh()] == [["004"]]
    dead.leave()
    again.reopen(np.arange(10) == 9)
    assert list(lease_numbers(names_in(folder))) == []  # of images that are done meanwhile
    assert [ids(shard) for shard in again.fresh()] == [["009"]]


def test_a_folder_that_others_have_removed_is_no_work(tmp_path, crew):
    folder = tmp_path / "work/plan"
    mine = shards(folder, crew[0])
    shard = next(mine.fresh())
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    assert not shard.held()
    done(shard)
    assert list(mine.fresh()) == list(mine.rest()) == []
    mine.release()


def test_who_has_joined(tmp_path):
    join(tmp_path, "0a")
    join(tmp_path, "0b")
    join(tmp_path, "0a")
    assert sorted(joined(tmp_path)) == ["0a", "0b"]
