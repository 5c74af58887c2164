"""The process group of torch is left before the interpreter ends, with or without one."""

import subprocess
import sys

import pytest

AT_EXIT = """
import atexit
import sys

import torch.distributed as group

from wsss_seed.models.process_group import leave_at_exit

atexit.register(lambda: sys.stdout.write(f"joined: {group.is_initialized()}"))  # runs last
leave_at_exit()
if sys.argv[1:]:
    group.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
sys.stdout.write(f"joined: {group.is_initialized()}, ")
"""


@pytest.mark.parametrize("joined", [True, False])
def test_a_process_leaves_its_group_at_exit(tmp_path, joined):
    group = [str(tmp_path / "group")] if joined else []
    result = subprocess.run([sys.executable, "-c", AT_EXIT, *group], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"joined: {joined}, joined: False"  # older gloo writes a line before
