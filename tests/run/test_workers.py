"""Several processes at one run: as one they leave what one leaves, and what happens to one does not harm the others."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.run import killed_runs as runs
from wsss_seed.errors import WsssError
from wsss_seed.io.progress import Progress
from wsss_seed.run.workers import MOST_DEATHS, on_devices

IMAGES = 8


def command(out: Path, device: str, *options: object) -> list[str]:
    common = ("generate", "--dataset", "toyland", "--images", IMAGES, "--out", out, "--device", device)
    return [str(part) for part in (sys.executable, "-m", "wsss_seed", *common, *options)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(runs.wsss_seed.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def start(out: Path, device: str, *options: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(out, device, *options),
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where pytest runs in the background
    )


def contents(out: Path) -> dict[str, object]:
    files = runs.contents(out)
    run = files["run.json"]
    del run["command"]
    return files


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, object]:
    """What one process leaves."""
    out = tmp_path_factory.mktemp("alone") / "run"
    process = start(out, "cpu")
    _, messages = process.communicate()
    assert process.returncode == 0, messages
    return contents(out)


def test_two_processes_leave_what_one_leaves(tmp_path: Path, alone):
    out = tmp_path / "run"
    process = start(out, "cpu,cpu")
    result, messages = process.communicate()
    assert process.returncode == 0, messages
    assert contents(out) == alone
    assert f"seeding {IMAGES} images\n{IMAGES} of {IMAGES} images done" in messages
    assert f"{IMAGES} masks generated" in result


def children(process: subprocess.Popen[str]) -> list[int]:
    """Its worker processes; not multiprocessing's own helper."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == process.pid:
                line = (folder / "cmdline").read_bytes()
                if b"spawn_main" in line:
                    found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return sorted(found)


def masks(out: Path) -> int:
    return len(list(out.glob("SegmentationClass/*.png")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
def test_a_killed_process_is_replaced(tmp_path: Path, alone):
    out = tmp_path / "run"
    process = start(out, "cpu,cpu")
    runs.wait_for(lambda: masks(out) > 1)
    os.kill(children(process)[0], signal.SIGKILL)
    _, messages = process.communicate()
    assert process.returncode == 0, messages
    assert "the process on cpu was killed (SIGKILL); another one takes over" in messages
    assert contents(out) == alone


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize(
    "kind",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_interrupted(tmp_path: Path, kind):
    """Ctrl-C at a terminal, and its end, reach all processes, a scheduler's signal only the first."""
    out = tmp_path / "run"
    process = start(out, "cpu,cpu")
    runs.wait_for(lambda: masks(out) > 1)
    workers = children(process)
    if kind != signal.SIGTERM:
        os.killpg(process.pid, kind)
    else:
        process.send_signal(kind)
    _, messages = process.communicate()
    assert process.returncode == 130, messages
    assert "Traceback" not in messages
    assert "run the same command again to resume" in messages
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not list(out.rglob("*.part"))
    assert not (out / ".work").exists()


def test_unusable_devices_are_one_line_each(tmp_path: Path):
    for device, reason in (("cpu,cuda:97", "--device cuda:97 cannot be used"), ("cpu,", "expected a device")):
        process = start(tmp_path / "run", device)
        _, messages = process.communicate()
        assert process.returncode == 2, messages
        assert reason in messages
        assert "Traceback" not in messages
        assert len([line for line in messages.splitlines() if line.startswith("error:")]) == 1


@pytest.fixture
def jobs(monkeypatch):
    """Imported by the name under which a worker process finds it too, wherever pytest was started."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("worker_jobs")


def test_what_stops_one_stops_all(jobs):
    with pytest.raises(WsssError, match="the disk is full"):
        on_devices(partial(jobs.refuse, "the disk is full"), ["first", "second"], Progress())


def test_processes_that_die_are_replaced(jobs, tmp_path, capsys):
    """Not without end: one that never processes an image is given up."""
    workers, interrupted = on_devices(partial(jobs.vanish, tmp_path), ["first", "second", "third"], Progress())
    assert not interrupted
    assert [w.result for w in workers] == ["first", None, "third"]
    assert [w.deaths for w in workers] == [0, MOST_DEATHS, 1]
    assert [(w.made, w.failed) for w in workers] == [(0, 1), (0, 0), (2, 0)]
    assert workers[1].end == "the process on second ended with status 7"
    messages = capsys.readouterr().err
    assert messages.startswith("seeding 5 images, 1 of them already finished\n")
    assert "the process on third ended with status 7; another one takes over" in messages


def test_workers_end_as_soon_as_their_results_are_sent(jobs):
    workers, _ = on_devices(jobs.linger, ["cpu"], Progress())
    assert [w.result for w in workers] == ["cpu"]


def test_the_log_of_workers_is_handled_by_their_parent(jobs, caplog):
    caplog.set_level(logging.INFO, "wsss_seed")
    workers, _ = on_devices(jobs.tell, ["first", "second"], Progress())
    assert [w.result for w in workers] == ["first", "second"]
    assert sorted(r.getMessage() for r in caplog.records if r.name == "wsss_seed.run.jobs") == [
        "loading first",
        "loading second",
    ]
