"""Processes that share a store: what they see of each other, and what they and dead ones leave."""

from __future__ import annotations

import os

import pytest

from wsss_seed.data.base import Sample
from wsss_seed.errors import RunFolderError
from wsss_seed.output.manifest import WORK
from wsss_seed.output.store_work import StoreWork

SAMPLES = [Sample(f"{i:03}") for i in range(6)]


def die(work: StoreWork) -> None:
    """What is left of a killed process: a worker without a lock, and its leases."""
    work._worker.leave()


def test_processes_share_a_plan_and_the_last_one_cleans_up(tmp_path):
    with StoreWork(tmp_path / "store", "plan") as one:
        first = one.shards(SAMPLES, "key", shards=3)
        shard = next(first.fresh())
        with StoreWork(tmp_path / "store", "plan") as other:
            second = other.shards(SAMPLES, "key", shards=2)  # the plan has been made
            taken = [sample.id for shard in second.fresh() for sample in shard.samples]
            assert taken == ["002", "003", "004", "005"]
            other.fail(SAMPLES[2], "broken\nimage \udcff")
            other.done(SAMPLES[3], {"masks": 3})
            second.release()
        one.done(shard.samples[0], {"masks": 1})
        assert sorted((record.id, record.status) for record in one.records()) == [
            ("000", "ok"),
            ("002", "failed"),
            ("003", "ok"),
        ]
        assert next(record.error for record in one.records() if record.id == "002") == "broken image \\udcff"
        first.release()
    assert not (tmp_path / "store").exists()  # new, and nothing was stored in it


def test_a_worker_of_the_same_command_continues_what_dead_ones_have_left(tmp_path):
    with StoreWork(tmp_path, "plan", driver=True) as driver:
        dead = StoreWork(tmp_path, "plan", driver.token)
        shard = next(dead.shards(SAMPLES, "key", shards=3).fresh())
        dead.done(shard.samples[0], {"masks": 1})
        die(dead)
        with StoreWork(tmp_path, "plan", driver.token) as heir:
            shards = heir.shards(SAMPLES, "key", shards=3)
            assert [shard.samples[0].id for shard in shards.fresh()] == ["002", "004"]
            rest = next(shards.rest())
            assert rest.alone
            assert [sample.id for sample in rest.samples] == ["001"]
            heir.done(rest.samples[0], {"masks": 1})
            rest.recorded()
            shards.release()
        assert sorted(record.id for record in driver.records()) == ["000", "001"]
        assert (tmp_path / WORK / "plan").exists()
    assert not (tmp_path / WORK).exists()


def test_another_command_begins_anew_but_for_the_deaths(tmp_path):
    dead = StoreWork(tmp_path, "plan")
    shards = dead.shards(SAMPLES, "key", shards=3).fresh()
    done = next(shards)
    for sample in done.samples:
        dead.done(sample, {"masks": 1})
        done.recorded()
    next(shards)
    die(dead)
    with StoreWork(tmp_path, "another") as another:
        another.shards(SAMPLES, "key")
    assert (tmp_path / WORK / "plan").exists()
    assert not (tmp_path / WORK / "another").exists()
    with StoreWork(tmp_path, "plan") as heir:
        found = heir.shards(SAMPLES, "key of other weights", shards=3)
        assert not [*heir.records()]
        assert [shard.samples[0].id for shard in found.fresh()] == ["000", "004"]
        assert next(found.rest()).alone
        found.release()


def test_another_number_of_shards_forgets_the_deaths(tmp_path):
    dead = StoreWork(tmp_path, "plan")
    next(dead.shards(SAMPLES, "key", shards=3).fresh())
    die(dead)
    with StoreWork(tmp_path, "plan") as heir:
        assert len([*heir.shards(SAMPLES, "key", shards=2).fresh()]) == 2
        assert not [*heir.records()]


def test_workers_with_other_weights_are_refused(tmp_path):
    with StoreWork(tmp_path, "plan") as one, StoreWork(tmp_path, "plan") as other:
        one.shards(SAMPLES, "key")
        with pytest.raises(RunFolderError, match="another process at work here has other weights of this SAM"):
            other.shards(SAMPLES, "another key")


def test_a_run_folder_is_no_store(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="a run folder, which is no place for mask proposals"):
        StoreWork(tmp_path, "plan")
    assert not (tmp_path / WORK).exists()


def test_temporary_files_of_dead_workers_are_removed(tmp_path):
    part = tmp_path / "a/b" / f".{'0f' * 8}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half a file")
    with StoreWork(tmp_path, "plan"):
        pass
    assert part.exists()  # nobody has died
    (tmp_path / WORK).mkdir()
    worker = tmp_path / WORK / "0f.worker"
    worker.write_bytes(b"{}")
    os.utime(worker, (1.0, 1.0))
    with StoreWork(tmp_path, "plan"):
        pass
    assert not part.exists()
    assert not (tmp_path / WORK).exists()
