"""Memory that runs out is called that, not a damaged image, and costs no more than it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_seed.errors import out_of_memory

LIMIT = """
import resource, sys
from pathlib import Path
import numpy, PIL.Image, PIL.JpegImagePlugin, PIL.PngImagePlugin
from wsss_seed import cli
from wsss_seed.data.images import read_labels, read_rgb
from wsss_seed.errors import ImageError
from wsss_seed.evaluation import evaluate
resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))  # of threads to come
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 40 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


def limited(code: str, *args: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a process that gets 40 MB more than it has."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", f"{before}\n{LIMIT}{code}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc how much memory the process has")
@pytest.mark.parametrize(("read", "suffix"), [("read_rgb", "jpg"), ("read_labels", "png")])
def test_a_large_image_is_not_damaged(tmp_path, read, suffix):
    path = tmp_path / f"large.{suffix}"
    Image.new("L", (7000, 7000)).save(path)
    code = f"try:\n    {read}(Path(sys.argv[1]))\nexcept MemoryError:\n    sys.exit(17)"
    result = limited(code, path)
    assert result.returncode == 17, result.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc how much memory the process has")
def test_a_command_says_so_in_one_line(tmp_path):
    for name in ("gt", "pred"):
        (tmp_path / name).mkdir()
        Image.new("L", (7000, 7000)).save(tmp_path / name / "a.png")
    result = limited("cli.main()", "evaluate", "--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--classes", "voc")
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: out of memory")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("allocate", [lambda: np.ones(2**50, np.uint8), lambda: torch.ones(2**50, dtype=torch.uint8)])
def test_what_libraries_raise(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        allocate()
    assert "out of memory; close other programs" in (out_of_memory(raised.value) or "")


def test_a_gpu_has_another_remedy():
    assert "`device` cpu" in (out_of_memory(torch.OutOfMemoryError("CUDA out of memory.\nTried to")) or "")


def test_other_errors_are_no_lack_of_memory():
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert out_of_memory(OSError(28, "No space left on device")) is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc how much memory the process has")
def test_a_checkpoint_is_not_damaged_either(tmp_path):
    path = tmp_path / "best.pt"
    torch.save({"weights": torch.zeros(10**8, dtype=torch.uint8)}, path)
    code = """
from wsss_seed.errors import out_of_memory
try:
    checkpoint.read(Path(sys.argv[1]))
except (RuntimeError, MemoryError) as error:
    print(out_of_memory(error))
"""
    result = limited(code, path, before="from wsss_seed.segmenter import checkpoint")
    assert result.stdout.startswith("out of memory"), result.stderr
