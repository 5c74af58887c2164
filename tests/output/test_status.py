"""The status of a run while processes write to it, after they have ended, and after they were killed."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.errors import RunFolderError
from wsss_seed.output.leases import STALE
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.output.status import RECENT, missing_shards, status
from wsss_seed.types import Seed

CATS = ClassSet("cats", ("cat",), (("cat",),), ("cat",), ("grass",), voc_palette())
SEED = Seed(np.array([[0, 1], [1, 255]], np.uint8), np.ones((2, 2), np.float32), (0,), {0: np.float32(0.9)})
IMAGE = np.zeros((2, 2, 3), np.uint8)
IDS = tuple("abcdef")
START = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch):
    """Each image takes two seconds."""
    now = [START]

    def tick() -> float:
        now[0] += 2.0
        return now[0]

    monkeypatch.setattr("wsss_seed.output.run_folder.time.time", tick)
    return now


def hold(path, shard=(0, 1), planned=6):
    folder = RunFolder(path, CATS, {"a": 1}, about={"planned": planned}, part=shard)
    folder.plan([Sample(id) for id in IDS[shard[0] :: shard[1]]])
    return folder


def save(folder, *ids):
    for id in ids:
        folder.save(Sample(id), IMAGE, SEED, 0.1)


def test_a_run_in_progress(tmp_path, clock):
    with hold(tmp_path / "run") as folder:
        save(folder, "a", "b", "c")
        folder.fail(Sample("d"), "broken", 0.1)
        found = status(tmp_path / "run", now=clock[0])
        assert (found.planned, found.done, found.failed, found.left, found.running) == (6, 3, 1, 2, True)
        assert found.rate == pytest.approx(0.5)
        assert found.seconds_left == pytest.approx(4.0)
        assert found.last == clock[0]
        assert not found.complete
        assert found.shards == missing_shards(found) == ()
        assert json.loads(json.dumps(found.to_json()))["left"] == 2


def test_a_run_that_was_killed_has_no_rate(tmp_path, clock):
    with hold(tmp_path / "run") as folder:
        save(folder, "a", "b")
    found = status(tmp_path / "run", now=clock[0])
    assert (found.done, found.left, found.running, found.rate, found.seconds_left) == (2, 4, False, None, None)


def test_the_rate_is_that_of_the_last_minutes(tmp_path, clock):
    with hold(tmp_path / "run") as folder:
        save(folder, "a", "b")
        clock[0] += 10 * RECENT
        save(folder, "c", "d", "e")
        assert status(tmp_path / "run", now=clock[0]).rate == pytest.approx(0.5)
        assert status(tmp_path / "run", now=clock[0] + 2 * RECENT).rate is None


def test_a_finished_run(tmp_path):
    with hold(tmp_path / "run") as folder:
        save(folder, *IDS)
        folder.finalize(IDS)
    found = status(tmp_path / "run")
    assert (found.done, found.left, found.complete, found.running) == (6, 0, True, False)


def test_failed_images_that_a_later_process_made(tmp_path):
    with hold(tmp_path / "run") as folder:
        folder.fail(Sample("a"), "broken", 0.1)
        save(folder, "a", "b")
    assert (status(tmp_path / "run").done, status(tmp_path / "run").failed) == (2, 0)


def test_shards(tmp_path, clock):
    run = tmp_path / "run"
    with hold(run, (0, 3)) as first:
        save(first, "a", "d")
        with hold(run, (2, 3)) as third:
            third.fail(Sample("c"), "broken", 0.1)
        found = status(run, now=clock[0])
        assert [(s.shard, s.done, s.failed, s.running) for s in found.shards] == [
            ((1, 3), 2, 0, True),
            ((3, 3), 0, 1, False),
        ]
        assert (found.done, found.failed, found.left, found.running) == (2, 1, 3, True)
        assert missing_shards(found) == (2,)
        with hold(run, (1, 3)):  # looking takes no lock away
            assert status(run).shards[1].running


def test_what_is_planned_changes_when_the_run_resumes(tmp_path):
    for planned in (3, 6):
        with hold(tmp_path / "run", planned=planned):
            assert status(tmp_path / "run").planned == planned


def test_records_of_other_settings_do_not_count(tmp_path):
    with hold(tmp_path / "run") as folder:
        save(folder, "a")
        folder.finalize(IDS)
    manifest = tmp_path / "run" / "manifest.jsonl"
    other = json.loads(manifest.read_text()) | {"id": "b", "settings": "other"}
    manifest.write_text(manifest.read_text() + json.dumps(other) + "\n")
    assert status(tmp_path / "run").done == 1


def test_a_process_without_locks_is_known_by_its_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr("wsss_seed.io.lock.fcntl", None)
    with hold(tmp_path / "run") as folder:
        save(folder, "a")
        assert status(tmp_path / "run").workers == 1
        (worker,) = (tmp_path / "run/.work").glob("*.worker")
        os.utime(worker, (time.time() - 2 * STALE,) * 2)
        found = status(tmp_path / "run")
        assert (found.running, found.workers, found.stale) == (False, 0, 1)


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        status(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match="not a run folder"):
        status(tmp_path)
