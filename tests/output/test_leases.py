"""Leases: who has a task, what is known of the dead, and that only one can have it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import wsss_seed
from wsss_seed.io import lock
from wsss_seed.io.files import names_in
from wsss_seed.output import leases
from wsss_seed.output.leases import Leases, Worker, is_alive, lease_numbers, read_about, workers

DIE = """
import os, sys
from pathlib import Path
from wsss_seed.io.files import names_in
from wsss_seed.output.leases import Leases, Worker, lease_numbers
folder = Path(sys.argv[1])
worker = Worker(folder)
found = Leases(folder, worker)
lease = found.take("task", lease_numbers(names_in(folder)).get("task", ()))
if len(sys.argv) > 2:
    found.note(lease, sys.argv[2])
print(lease.number)
sys.stdout.flush()
os.abort()
"""


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)


def die(folder: Path, *image: str) -> int:
    """The number of the lease of a process that died with it."""
    environment = os.environ | {"PYTHONPATH": str(Path(wsss_seed.__file__).parents[1])}
    command = [sys.executable, "-c", DIE, str(folder), *image]
    return int(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout)


def take(folder: Path, worker: Worker):
    return Leases(folder, worker).take("task", lease_numbers(names_in(folder)).get("task", ()))


def test_a_lease_is_of_one_living_worker(tmp_path):
    first, second = Worker(tmp_path), Worker(tmp_path)
    lease = take(tmp_path, first)
    assert lease.number == 1
    assert take(tmp_path, second) is None
    Leases(tmp_path, first).release(lease)
    again = take(tmp_path, second)
    assert (again.number, [former.released for former in again.former]) == (2, [True])
    assert not Leases(tmp_path, first).held(lease)
    second.leave()
    assert take(tmp_path, first).number == 3  # it ended without giving the lease back
    first.leave()


def test_the_dead_are_known_and_what_they_were_doing(tmp_path):
    assert die(tmp_path) == 1
    assert die(tmp_path, "photos/a") == 2
    worker = Worker(tmp_path)
    lease = take(tmp_path, worker)
    assert lease.number == 3
    assert [(former.released, former.image) for former in lease.former] == [(False, None), (False, "photos/a")]
    worker.leave()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_missing_heartbeat_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    monkeypatch.setattr(leases, "STALE", 0.6)
    first, second = Worker(tmp_path), Worker(tmp_path)
    assert take(tmp_path, first) is not None
    time.sleep(1.0)
    assert take(tmp_path, second) is None  # it beats
    first._left.set()  # as if suspended
    time.sleep(1.0)
    lease = take(tmp_path, second)
    assert lease.number == 2
    second.leave()


def test_a_heartbeat_of_another_machine_counts(tmp_path, monkeypatch):
    """Its locks are not seen here; the two clocks need not agree, since the file system's counts."""
    other, here = Worker(tmp_path), Worker(tmp_path)
    monkeypatch.setattr(leases, "_machine", lambda: "elsewhere")
    assert here.alive(other.id)
    os.utime(other.path, (time.time() - leases.STALE - 1,) * 2)
    assert not here.alive(other.id)
    other.leave()
    here.leave()


def test_a_worker_that_wakes_up_has_lost_its_lease(tmp_path, monkeypatch):
    first, second = Worker(tmp_path), Worker(tmp_path)
    lease = take(tmp_path, first)
    monkeypatch.setattr(second, "alive", lambda _: False)
    assert take(tmp_path, second).number == 2
    assert not Leases(tmp_path, first).held(lease)
    Leases(tmp_path, first).release(lease)  # which does not bring it back
    assert lease_numbers(names_in(tmp_path)) == {"task": [1, 2]}
    first.leave()
    second.leave()


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_ask_one_gets_it(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    crew = [Worker(tmp_path) for _ in range(8)]
    for _ in range(20):
        start = threading.Barrier(len(crew))

        def ask(worker: Worker, start: threading.Barrier = start):
            start.wait()
            return Leases(tmp_path, worker).take("task")

        with ThreadPoolExecutor(len(crew)) as pool:
            assert sum(lease is not None for lease in pool.map(ask, crew)) == 1
        (tmp_path / "task.lease-1").unlink()
    for worker in crew:
        worker.leave()
    assert not tmp_path.exists()


def test_waiting_is_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "POLL", 0.001)
    crew = [Worker(tmp_path) for _ in range(6)]
    inside, most = [0], [0]

    def work(worker: Worker) -> None:
        for _ in range(5):
            with Leases(tmp_path, worker).waiting("steward"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    with ThreadPoolExecutor(len(crew)) as pool:
        list(pool.map(work, crew))
    assert most[0] == 1
    assert lease_numbers(names_in(tmp_path)) == {}
    for worker in crew:
        worker.leave()


def test_a_steward_that_died_is_followed(tmp_path):
    assert die(tmp_path) == 1
    worker = Worker(tmp_path)
    with Leases(tmp_path, worker).waiting("task"):
        assert lease_numbers(names_in(tmp_path)) == {"task": [1, 2]}
    assert lease_numbers(names_in(tmp_path)) == {}
    worker.leave()


def test_damaged_files(tmp_path):
    (tmp_path / "task.lease-1").write_bytes(b"")
    (tmp_path / "0f.worker").write_bytes(b"{")
    (tmp_path / "0e.worker").write_bytes(b'{"machine": "\xff\xfe"}')
    worker = Worker(tmp_path)
    assert take(tmp_path, worker).number == 2  # cut off by a kill
    assert read_about(tmp_path, "0f").machine == read_about(tmp_path, "0e").machine == ""
    assert sorted(workers(tmp_path)) == sorted(["0e", "0f", worker.id])
    assert not is_alive(tmp_path, "unknown")
    worker.leave()
