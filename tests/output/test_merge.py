"""Merging a run whose processes were all killed."""

from __future__ import annotations

import json

import pytest

import wsss_seed as ws
from tests.run.killed_runs import contents
from wsss_seed.errors import RunFolderError
from wsss_seed.output.manifest import MANIFEST, part_file
from wsss_seed.output.merge import merge
from wsss_seed.output.run_folder import RunFolder


@pytest.fixture
def killed(tmp_path):
    """A run whose records are where its workers, killed by now, have left them; and its folder before that."""
    run = tmp_path / "run"
    ws.generate("toyland", images=4, out=run, device="cpu")
    before = contents(run)
    lines = (run / MANIFEST).read_bytes().splitlines(keepends=True)
    (run / MANIFEST).unlink()
    (run / "ImageSets/Segmentation/test.txt").unlink()
    (run / ".work").mkdir()
    for worker, part in (("0a", lines[::2]), ("0b", lines[1::2])):
        (run / part_file(worker)).write_bytes(b"".join(part))
    return run, before


def test_it_leaves_what_the_run_would_have_left(killed):
    run, before = killed
    found = merge(run)
    assert (found.done, found.failed, found.missing, found.exit_status) == (4, (), 0, 0)
    assert contents(run) == before
    assert merge(run) == found
    assert contents(run) == before


def test_what_is_missing(killed):
    run, _ = killed
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"planned": 9}))
    found = merge(run)
    assert (found.missing, found.exit_status) == (5, 1)
    assert json.loads((run / "run.json").read_text())["totals"]["images"] == 9


def test_a_run_in_progress_is_left_alone(killed):
    run, _ = killed
    about = json.loads((run / "run.json").read_text())
    with (
        RunFolder(run, ws.load_class_set("toyland"), about["settings"]),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        merge(run)


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(RunFolderError, match="not a run folder"):
        merge(tmp_path)
