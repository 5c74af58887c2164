"""Runs that end before their end leave a folder that the next one completes to the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.run import killed_runs as runs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    status, messages = runs.finish(out, "--images", str(runs.IMAGES))
    assert status == 0, messages
    return runs.contents(out)


def test_killed_at_random_moments(tmp_path, undisturbed):
    dice = random.Random(12)
    made = []
    for i in range(12):
        out = tmp_path / str(i)
        made.append(runs.killed_and_resumed(out, dice))
        assert runs.contents(out) == undisturbed, f"run {i}, killed after {made[-1]} masks"
    assert len(set(made)) > 3, f"the moments were hardly random: {made}"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(tmp_path, undisturbed, kind):
    out = tmp_path / "run"
    process = runs.start(out, "--images", str(runs.IMAGES), "--pause", "0.05")
    runs.wait_for(lambda: runs.recorded(out) >= 3)
    process.send_signal(kind)
    _, messages = process.communicate()
    assert process.returncode == 130, messages
    left = runs.contents(out)
    done = [line["id"] for line in left["manifest.jsonl"]]
    assert 3 <= len(done) < runs.IMAGES
    for name in done:  # what was under way is finished, and what is listed is there
        assert left[f"SegmentationClass/{name}.png"] == undisturbed[f"SegmentationClass/{name}.png"]
    assert left["ImageSets/Segmentation/val.txt"].decode().split() == done
    assert not list(out.rglob("*.part"))
    assert runs.finish(out, "--images", str(runs.IMAGES))[0] == 0
    assert runs.contents(out) == undisturbed


def test_concurrent_shards_share_a_folder(tmp_path, undisturbed):
    out = tmp_path / "run"
    shards = [runs.start(out, "--images", str(runs.IMAGES), "--pause", "0.01", "--shard", f"{i}/3") for i in (1, 2, 3)]
    for process in shards:
        _, messages = process.communicate()
        assert process.returncode == 0, messages
    assert runs.contents(out) == undisturbed


def test_killed_shards(tmp_path, undisturbed):
    out = tmp_path / "run"
    first = runs.start(out, "--images", str(runs.IMAGES), "--pause", "0.1", "--shard", "1/2")
    runs.wait_for(lambda: runs.recorded(out) > 3)
    first.kill()
    first.communicate()
    assert runs.finish(out, "--images", str(runs.IMAGES), "--shard", "2/2")[0] == 0
    assert runs.finish(out, "--images", str(runs.IMAGES))[0] == 0  # without shards, taking over what they made
    assert runs.contents(out) == undisturbed


def test_processes_share_a_run(tmp_path, undisturbed):
    """Each takes images that no other one has; all end when all images are done, the last one merges."""
    out = tmp_path / "run"
    command = ("--images", str(runs.IMAGES), "--pause", "0.05")
    processes = [runs.start(out, *command) for _ in range(3)]
    for process in processes:
        _, messages = process.communicate()
        assert process.returncode == 0, messages
    assert runs.contents(out) == undisturbed


@pytest.mark.parametrize("locks", [True, False])
def test_a_process_takes_over_from_a_killed_one(tmp_path, undisturbed, locks):
    """Also without locks: then a dead process is known by its missing heartbeat."""
    out = tmp_path / "run"
    command = ["--images", str(runs.IMAGES), "--pause", "0.1", *([] if locks else ["--no-locks"])]
    first, second = runs.start(out, *command), runs.start(out, *command)
    runs.wait_for(lambda: len(list(out.glob(".work/*.jsonl"))) == 2 and runs.recorded(out) >= 6)
    first.kill()
    first.communicate()
    _, messages = second.communicate()
    assert second.returncode == 0, messages
    assert runs.contents(out) == undisturbed


def test_a_second_process_that_overwrites_is_refused(tmp_path):
    out = tmp_path / "run"
    first = runs.start(out, "--images", "1000", "--pause", "0.05")
    runs.wait_for(lambda: runs.recorded(out) > 0)
    status, messages = runs.finish(out, "--images", "1000", "--overwrite")
    first.kill()
    first.communicate()
    assert status == 2
    assert "another process is writing" in messages


def test_an_image_that_kills_its_process_fails_alone(tmp_path):
    """By hand: the same command again, until it ends."""
    out = tmp_path / "run"
    ends = []
    while not ends or (ends[-1] < 0 and len(ends) < 9):
        ends.append(runs.finish(out, "--images", "9", "--deadly", "4")[0])
    assert ends == [-signal.SIGABRT] * 3 + [1]
    lines = runs.contents(out)["manifest.jsonl"]
    assert [line["id"] for line in lines if line["status"] == "failed"] == ["even/0004"]
    assert "the process died each time" in next(line["error"] for line in lines if line["error"])
    assert len(lines) == 9
    assert not (out / ".work").exists()
    assert runs.finish(out, "--images", "9")[0] == 0  # with another seeder the image is tried again
    assert all(line["status"] == "ok" for line in runs.contents(out)["manifest.jsonl"])


def test_file_size_limit_stops_with_one_line(tmp_path, undisturbed):
    """The manifest outgrows the limit in the middle of a line; EFBIG is handled like a full disk."""
    out = tmp_path / "run"
    status, messages = runs.finish(out, "--images", str(runs.IMAGES), "--cut", "6000")
    assert status == 2
    assert messages.count("\n") == 1
    assert "make room and give the same command again" in messages
    (lines,) = out.glob(".work/*.jsonl")
    manifest = lines.read_bytes()
    assert manifest.endswith(b"\n")
    assert manifest.count(b"\n") > 3
    assert not list(out.rglob("*.part"))
    assert runs.finish(out, "--images", str(runs.IMAGES))[0] == 0
    assert runs.contents(out) == undisturbed


def _in_small_disk(folder: Path, script: str, options: str = "rw") -> subprocess.CompletedProcess[str]:
    """Run a script where ``folder`` is a file system of its own, of 600 kB; skip where that is not allowed."""
    folder.mkdir()
    unshare = ["unshare", "-rm", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=600k,{options} tmpfs {folder} && cd {folder}"
    if shutil.which("unshare") is None or subprocess.run([*unshare, mount], capture_output=True).returncode:
        pytest.skip("needs a user namespace to mount a small file system")
    environment = f"export PYTHONPATH={Path(runs.wsss_seed.__file__).parents[1]}"
    return subprocess.run([*unshare, f"{mount}; {environment}; {script}"], capture_output=True, text=True)


def test_full_disk(tmp_path, undisturbed):
    """A file system of 600 kB, at first filled but for 120 kB."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    command = f"{runs.sys.executable} {runs.SCRIPT} {disk}/run --images {runs.IMAGES}"
    script = (
        f"dd if=/dev/zero of=filler bs=1k count=480 2>/dev/null; {command}; echo $?; find run -name '*.part';"
        f"find run/SegmentationClass -name '*.png' | wc -l; rm filler; {command}; echo $?; cp -a run {copy}"
    )
    result = _in_small_disk(disk, script)
    full, made, resumed = result.stdout.split()
    assert (full, resumed) == ("2", "0"), result
    assert 0 < int(made) < runs.IMAGES
    assert result.stderr.count("\n") == 1
    assert "no space left; what is finished stays" in result.stderr
    assert runs.contents(copy) == undisturbed


def test_read_only_disk(tmp_path):
    disk = tmp_path / "disk"
    result = _in_small_disk(disk, f"{runs.sys.executable} {runs.SCRIPT} {disk}/run; echo $?", "ro")
    assert result.stdout == "2\n", result
    assert result.stderr.count("\n") == 1
    assert "cannot be written (Read-only file system); choose another `out`" in result.stderr
