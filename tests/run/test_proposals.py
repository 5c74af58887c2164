"""The mask proposals of a dataset: resume, shards, bad images, several processes."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.run import killed_runs as runs
from tests.run.painted import Painted, paint
from wsss_seed.data import open_dataset
from wsss_seed.errors import WsssError
from wsss_seed.io.png import write_rgb
from wsss_seed.io.progress import Progress
from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY, ModelSet
from wsss_seed.output.manifest import WORK
from wsss_seed.proposals.generate import ProposalSettings
from wsss_seed.run.proposals import ProposalPlan, execute, propose

TINY_SAM = "tiny fp32"
SETTINGS = ProposalSettings(
    points_per_side=2, crop_n_layers=0, pred_iou_thresh=0.3, stability_score_thresh=0.3, stability_score_offset=0.2
)


@pytest.fixture(scope="module")
def sam():
    return load_sam(TINY)


@pytest.fixture
def one_thread(monkeypatch):
    """Several processes compute with fewer threads than one, which sums in another order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_resumes_where_it_stopped(sam, tmp_path):
    first = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a", limit=2)
    assert (first.images, first.made, first.skipped, first.exit_status) == (2, 2, 0, 0)
    second = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a")
    assert (second.made, second.skipped) == (4, 2)
    third = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a")
    assert (third.made, third.skipped, third.masks) == (0, 6, second.masks)
    for shard in ((0, 2), (1, 2)):
        propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "b", shard=shard)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 6
    again = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a", overwrite=True)
    assert again.made == 6
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_bad_image_and_a_damaged_file_concern_nobody_else(sam, tmp_path):
    result = propose(Painted(6, broken=[3]), lambda: sam, TINY_SAM, SETTINGS, tmp_path)
    assert result.failed == (("odd/0003", "odd/0003: damaged image; copy it again"),)
    assert (result.made, result.exit_status) == (5, 1)
    before = files(tmp_path)
    next(p for p in tmp_path.rglob("*.gz")).write_bytes(b"\x1f\x8b")
    assert propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path).made == 2
    assert files(tmp_path).items() >= before.items()


def test_an_image_without_masks_is_done_too(sam, tmp_path):
    strict = ProposalSettings(
        points_per_side=2, crop_n_layers=0, stability_score_thresh=1.0, stability_score_offset=1000.0
    )
    result = propose(Painted(2), lambda: sam, TINY_SAM, strict, tmp_path)
    assert (result.made, result.empty, result.masks, result.exit_status) == (2, 2, 0, 0)
    assert propose(Painted(2), lambda: sam, TINY_SAM, strict, tmp_path).skipped == 2


def test_an_interrupt_loses_nothing(sam, tmp_path):
    class Interrupted(Painted):
        def image(self, sample):
            if sample.id.endswith("0003"):
                raise KeyboardInterrupt
            return super().image(sample)

    result = propose(Interrupted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path)
    assert (result.interrupted, result.exit_status) == (True, 130)
    assert result.made == len(files(tmp_path)) == 3
    assert propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path).skipped == 3


def test_a_folder_that_takes_nothing(sam, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match=r"file.*cannot be written"):
        propose(Painted(2), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "file")
    assert np.array_equal(list(files(tmp_path)), ["file"])


def test_sam_is_loaded_for_missing_proposals_only(sam, tmp_path):
    propose(Painted(2), lambda: sam, TINY_SAM, SETTINGS, tmp_path)

    def refuse():
        raise AssertionError("SAM was asked for")

    assert propose(Painted(2), refuse, TINY_SAM, SETTINGS, tmp_path).skipped == 2
    assert propose(Painted(2), lambda: sam, "another SAM", SETTINGS, tmp_path).made == 2


class Counting(Painted):
    """Counts how often each image is read, and waits before each."""

    def __init__(self, images: int, reads: Counter[str], wait=lambda: None) -> None:
        super().__init__(images)
        self.reads, self.wait = reads, wait

    def image(self, sample):
        self.wait()
        self.reads[sample.id] += 1
        return super().image(sample)


def test_processes_of_the_same_command_share_the_images(sam, tmp_path):
    reads: Counter[str] = Counter()
    begun, enough = threading.Event(), threading.Event()
    results = {}

    class Watched(Progress):
        def step(self, *, failed=False, note=""):
            enough.set()

    def wait():
        begun.set()
        assert enough.wait(60)

    def other():
        data = Counting(9, reads, wait)
        results["other"] = propose(data, lambda: sam, TINY_SAM, SETTINGS, tmp_path, shards=9)

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(60)
    data = Counting(9, reads)
    results["here"] = propose(data, lambda: sam, TINY_SAM, SETTINGS, tmp_path, progress=Watched())
    thread.join()
    assert set(reads.values()) == {1}
    assert [(r.images, r.made, r.skipped, r.exit_status) for r in results.values()] == [(9, 9, 0, 0)] * 2
    assert results["here"].masks == results["other"].masks > 0
    assert not (tmp_path / WORK).exists()


def test_images_of_the_same_name_elsewhere_are_others(sam, tmp_path):
    """A store serves all datasets, also at the same time."""
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        write_rgb(tmp_path / name / "x.png", paint(i)[0])
    a, b = (open_dataset("folder", str(tmp_path / name), classes="voc", labels="none") for name in ("a", "b"))
    read, within = a.image, []

    def image(sample):
        within.append(propose(b, lambda: sam, TINY_SAM, SETTINGS, tmp_path / "store").made)
        return read(sample)

    a.image = image  # type: ignore[method-assign]
    assert propose(a, lambda: sam, TINY_SAM, SETTINGS, tmp_path / "store").made == 1
    assert within == [1]
    assert len(files(tmp_path / "store")) == 2


@pytest.fixture
def jobs(monkeypatch):
    """Imported by the name under which a worker process finds it too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return importlib.import_module("worker_jobs")


def plan(data, out, *devices):
    return ProposalPlan(data, ModelSet("tiny", "cpu"), SETTINGS, out, devices=devices)


def test_two_workers_leave_what_one_leaves(jobs, one_thread, tmp_path):
    data = jobs.Painted(8, broken=[3])
    alone = execute(plan(data, tmp_path / "alone", "cpu"))
    both = execute(plan(data, tmp_path / "both", "cpu", "cpu"))
    assert files(tmp_path / "both") == files(tmp_path / "alone")
    assert len(files(tmp_path / "both")) == 7
    assert not (tmp_path / "both" / WORK).exists()
    for name in ("images", "made", "skipped", "empty", "masks", "turned", "failed", "exit_status"):
        assert getattr(both, name) == getattr(alone, name)
    assert (both.made, both.failed) == (7, (("odd/0003", "odd/0003: damaged image; copy it again"),))
    shutil.rmtree(next((tmp_path / "both").iterdir()))
    half = execute(plan(data, tmp_path / "both", "cpu", "cpu"), (0, 2))
    assert (half.images, half.made, half.exit_status) == (4, 4, 0)


@pytest.mark.slow
def test_an_image_that_aborts_its_process_fails_alone(jobs, tmp_path):
    result = execute(plan(jobs.Deadly(8, 5), tmp_path, "cpu", "cpu"))
    assert [id for id, _ in result.failed] == ["odd/0005"]
    assert "the process died each time" in result.failed[0][1]
    assert (result.images, result.made, result.skipped, result.exit_status) == (8, 7, 0, 1)
    assert len(files(tmp_path)) == 7
    assert not (tmp_path / WORK).exists()


@pytest.mark.slow
def test_processes_that_never_begin_are_given_up(jobs, tmp_path):
    result = execute(plan(jobs.Unreadable(2), tmp_path / "store", "cpu", "cpu"))
    assert [error for _, error in result.failed] == [
        "not processed: the process on cpu ended with status 9; run the same command again"
    ] * 2
    assert not (tmp_path / "store").exists()


def test_an_error_for_every_image_stops_all_workers(jobs, tmp_path):
    with pytest.raises(WsssError, match=r"cuda:9[67] cannot be used"):
        execute(plan(jobs.Painted(4), tmp_path / "store", "cuda:96", "cuda:97"))
    assert not (tmp_path / "store").exists()


def start(out: Path, device: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "wsss_seed", "proposals", "--dataset", "toyland", "--images", "30", "--out", out)
    package = str(Path(runs.wsss_seed.__file__).parents[1])
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*map(str, command), "--device", device],
        env=os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where pytest runs in the background
    )


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_ctrl_c_leaves_a_store_that_resumes(tmp_path, device):
    process = start(tmp_path, device)
    runs.wait_for(lambda: len([*tmp_path.rglob("*.gz")]) > 2)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130, messages
    assert "Traceback" not in messages
    assert "run the same command again to resume" in messages
    assert not (tmp_path / WORK).exists()
    stored = len(files(tmp_path))
    assert 2 < stored < 30
    process = start(tmp_path, "cpu")
    result, messages = process.communicate()
    assert process.returncode == 0, messages
    assert f"of {30 - stored} images generated, {stored} already in the store" in result
    assert not (tmp_path / WORK).exists()
