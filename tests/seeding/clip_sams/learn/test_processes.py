"""Learning in several processes: a single one needs no accelerate, and several sum what each has."""

import subprocess
import sys

import pytest
import torch

from wsss_seed.errors import UsageError
from wsss_seed.seeding.clip_sams.learn.processes import Processes

SUM = """
import sys

import torch

from wsss_seed.seeding.clip_sams.learn.processes import Processes

p = Processes.launched(2)
gradient, losses = p.reduce_sum(torch.arange(3.0) + p.index, {"a": 0.1 * (p.index + 1), "b": 1e-9})
assert gradient.tolist() == [1.0, 3.0, 5.0], gradient
assert losses == {"a": 0.1 + 0.2, "b": 2e-9}, losses  # in float64
assert (p.count, p.device, p.first) == (2, "cpu", p.index == 0)
p.wait()
sys.stdout.write(f"process {p.index} done\\n")
try:
    Processes.launched(1)
except Exception as error:
    sys.stdout.write(f"{type(error).__name__}: {error}\\n")
"""


def test_one_process_keeps_what_it_has_and_needs_no_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Processes.launched(1)
    assert (alone.index, alone.count, alone.first, alone.device) == (0, 1, True, None)
    gradient, losses = torch.ones(3), {"loss": 0.5}
    alone.wait()
    assert alone.reduce_sum(gradient, losses) == (gradient, losses)


def test_several_processes_without_accelerate_name_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"needs accelerate: pip install .*\[multi-gpu\]"):
        Processes.launched(4)


def test_two_processes_sum_and_share_at_least_a_micro_batch_each(launch, tmp_path):
    script = tmp_path / "sum.py"
    script.write_text(SUM)
    result = subprocess.run([*launch, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert {"process 0 done", "process 1 done"} <= set(result.stdout.splitlines())
    assert result.stdout.count("UsageError: 2 processes cannot share 1 micro-batches per iteration") == 2
