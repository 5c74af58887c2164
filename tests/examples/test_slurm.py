"""examples/slurm: what the batch script does in the environment that SLURM gives it. There is no SLURM here: the test
sets the variables of an array task, sends the signal of a preemption, and records the calls of ``scontrol``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "generate.sbatch"
TASKS = 2


@pytest.fixture
def submit(tmp_path):
    """Starts an array task, as sbatch would."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {
        "wsss-seed": f'exec "{sys.executable}" -m wsss_seed "$@"',
        "scontrol": f'echo "$@" >> "{tmp_path / "scontrol.log"}"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WSSS_SEED_", "SLURM_"))}

    def task(index: int, *arguments: object) -> subprocess.Popen[str]:
        variables = {
            "SLURM_ARRAY_JOB_ID": "71",
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_ARRAY_TASK_COUNT": str(TASKS),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }
        return subprocess.Popen(
            ["bash", SCRIPT, "--dataset", "toyland", "--device", "cpu", *map(str, arguments)],
            cwd=tmp_path, env={**clean, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    return task


def content(run: Path) -> dict[str, object]:
    """What a run made, without times and machines."""
    about = json.loads((run / "run.json").read_bytes())
    records = [json.loads(line) for line in (run / "manifest.jsonl").read_bytes().splitlines()]
    for record in records:
        for key in ("seconds", "finished", "mask"):
            del record[key]
    return {
        "masks": {path.name: path.read_bytes() for path in sorted((run / "SegmentationClass").iterdir())},
        "list": (run / "ImageSets" / "Segmentation" / "test.txt").read_text(),
        "records": records,
        "settings": about["settings"],
        "images": about["totals"]["images"],
    }


@pytest.mark.slow
def test_the_tasks_make_what_one_process_makes(submit, program, tmp_path):
    tasks = [submit(index + 1, "--images", 9, "--out", "array") for index in range(TASKS)]
    for task in tasks:
        output, _ = task.communicate(timeout=300)
        assert task.returncode == 0, output
    options = ("--dataset", "toyland", "--device", "cpu", "--images", 9, "--out", "alone")
    assert program("generate", *options, env={"OMP_NUM_THREADS": "1"}).returncode == 0  # the sums of as many threads
    assert content(tmp_path / "array") == content(tmp_path / "alone")
    assert not (tmp_path / "scontrol.log").exists()


def test_a_preempted_task_is_queued_again_and_resumes(submit, tmp_path):
    images = 60
    task = submit(1, "--images", images, "--out", "seeds")
    masks = tmp_path / "seeds" / "SegmentationClass"
    while not (masks.is_dir() and any(masks.iterdir())):
        assert task.poll() is None, task.communicate()[0]
        time.sleep(0.05)
    task.send_signal(signal.SIGTERM)
    output, _ = task.communicate(timeout=300)
    assert task.returncode == 130, output
    assert (tmp_path / "scontrol.log").read_text() == "requeue 71_1\n"
    made = {path: path.stat().st_mtime_ns for path in masks.iterdir()}
    assert 0 < len(made) < images

    again = submit(1, "--images", images, "--out", "seeds")
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert made.items() <= {path: path.stat().st_mtime_ns for path in masks.iterdir()}.items()
    assert len(list(masks.iterdir())) == images
