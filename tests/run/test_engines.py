"""One run by several processes: what becomes of images, and of processes, that do not survive it."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path

import pytest

from tests.run import killed_runs as runs
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.output.manifest import Manifest
from wsss_seed.run.engines import share
from wsss_seed.run.workers import MOST_DEATHS

IMAGES = 12


@pytest.fixture
def jobs(monkeypatch):
    """Imported by the name under which a worker process finds it too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("worker_jobs")


def test_a_single_device_is_this_process(jobs, tmp_path):
    data = jobs.Painted(IMAGES)
    result = share(
        partial(jobs.paint, tmp_path / "run", IMAGES, -1), data, data.samples, tmp_path / "run", devices=["cpu"]
    )
    assert (result.made, result.skipped, result.finalized, result.exit_status) == (IMAGES, 0, True, 0)


def test_an_image_that_aborts_its_process_fails_alone(jobs, tmp_path):
    out, data = tmp_path / "run", jobs.Painted(IMAGES)
    result = share(partial(jobs.paint, out, IMAGES, 5), data, data.samples, out, devices=["cpu", "cpu"])
    assert [id for id, _ in result.failed] == ["odd/0005"]
    assert "the process died each time" in result.failed[0][1]
    assert (result.made, result.finalized, result.exit_status) == (IMAGES - 1, True, 1)
    lines = runs.contents(out)["manifest.jsonl"]
    assert [line["status"] for line in lines].count("ok") == IMAGES - 1
    assert not (out / ".work").exists()


def test_processes_that_never_begin_are_given_up(jobs, tmp_path):
    out, data = tmp_path / "run", jobs.Painted(2)
    result = share(jobs.die, data, data.samples, out, devices=["cpu", "cpu"])
    assert [error for _, error in result.failed] == [
        "not processed: the process on cpu ended with status 9; run the same command again"
    ] * 2
    assert MOST_DEATHS == 3
    assert not out.exists()


def test_an_error_for_every_image_leaves_no_folder(jobs, tmp_path):
    data = jobs.Painted(2)
    with pytest.raises(UsageError, match="the weights are gone"):
        share(jobs.without_weights, data, data.samples, tmp_path / "run", devices=["cpu", "cpu"])
    assert not (tmp_path / "run").exists()


def test_a_full_disk_of_one_process_stops_all_and_the_run_resumes(jobs, tmp_path):
    out, data = tmp_path / "run", jobs.Painted(30)
    work = partial(jobs.paint_on_a_full_disk, out, 30, tmp_path / "mark")
    with pytest.raises(RunFolderError, match=r"what is finished stays: make room and give the same command again"):
        share(work, data, data.samples, out, devices=["cpu", "cpu"])
    with Manifest(out) as manifest:
        assert {record.status for record in manifest.values()} <= {"ok"}
        before = len(manifest)
    assert before < 30
    result = share(work, data, data.samples, out, devices=["cpu", "cpu"])
    assert (result.made, result.skipped, result.failed, result.finalized) == (30 - before, before, (), True)
