"""What runs on a GPU by ``gpu.sh``, here on the CPU: every part answers, and a part that breaks stops no other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.gpu.__main__ import PARTS
from tests.benchmarks.gpu.equality import TOLERANCES, beyond, compare
from tests.benchmarks.gpu.report import errors_in, plain

REPOSITORY = Path(__file__).parents[2]
SLOW_PART = """
import time
def run(scale):
    yield {"before": 1.0}
    time.sleep(60)
"""
BROKEN_PART = """
def run(scale):
    yield {"case": {"error": "one case"}, "other": float("nan")}
    raise ValueError("all of it")
"""
DYING_PART = """
import os, sys
def run(scale):
    print("a last word", file=sys.stderr, flush=True)
    print("no JSON")
    os.abort()
"""


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path):
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path), "GPU_SECONDS": "1500"}
    command = ["bash", str(REPOSITORY / "tests/benchmarks/gpu.sh"), "--small"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    found = {line["part"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(found) == list(PARTS)
    assert {part: line["error"] for part, line in found.items() if "error" in line} == {}
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gpu.jsonl").read_text() == done.stdout
    assert all(f"--- {part}\n" in (tmp_path / "gpu.log").read_text() for part in PARTS)
    assert found["environment"]["matmul_tflops"]["fp32"] > 0
    assert {"tiny detector", "hf masks sam2", "sam3"} <= found["smoke"].keys()
    assert found["equality"]["toyland dino-sam"]["fp32"]["equal_pixels"] == 1
    assert found["equality"]["tiny sam"]["bf16"]["relative"] > 0
    assert found["memory"]["dino-sam tiny"]["seconds"] > 0
    assert len(found["bench"]["tiny"]["peers"]) == 4
    assert found["proposals"]["tiny fp32"]["our_masks"] > 0
    assert found["training"]["learn-prompts seg"]["losses"]
    assert found["processes"]["two"]["equal_maps"] == 8
    assert found["batches"]["2"]["equal_maps"] == 8


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy of the runner with parts that go wrong."""
    copy = tmp_path / "tests/benchmarks/gpu"
    copy.mkdir(parents=True)
    for name in ("__init__", "__main__", "report", "scale"):
        (copy / f"{name}.py").write_text((REPOSITORY / f"tests/benchmarks/gpu/{name}.py").read_text())
    for folder in (copy.parent, copy.parent.parent):
        (folder / "__init__.py").touch()
    own = {"smoke": SLOW_PART, "equality": BROKEN_PART, "memory": DYING_PART, "bench": "def run(scale):\n    yield {}"}
    for name, text in own.items():
        (copy / f"{name}.py").write_text(text)
    runner = (copy / "__main__.py").read_text()
    assert '"smoke": 90,' in runner
    (copy / "__main__.py").write_text(runner.replace('"smoke": 90,', '"smoke": 12,'))
    return own


@pytest.mark.slow
def test_a_part_that_breaks_reports_and_the_next_one_starts(parts: dict[str, str], tmp_path: Path):
    command = [sys.executable, "-m", "tests.benchmarks.gpu", *parts]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OUT": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    found = {line["part"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done.stderr
    assert list(found) == list(parts)
    assert found["smoke"]["before"] == 1
    assert found["smoke"]["error"] == "the time of this part is over"
    assert found["equality"]["error"] == "ValueError: all of it; case: one case"
    assert found["equality"]["other"] == "nan"
    assert found["memory"]["error"].startswith("ended with status -6; ")
    assert "error" not in found["bench"]
    assert "a last word" in (tmp_path / "gpu.log").read_text()


def test_parts_for_which_no_time_is_left(tmp_path: Path):
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "smoke", "bench", "--seconds", "5"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert [json.loads(line)["error"] for line in done.stdout.splitlines()] == ["no time is left"] * 2
    assert done.returncode == 1


def test_differences_of_answers():
    reference = {
        "features": np.array([3.0, 4.0]),
        "masks": np.array([[[True, True]], [[False, False]]]),
        "boxes": np.array([[0, 0, 10, 10], [5, 5, 20, 20.0]]),
    }
    assert compare(reference, reference) == (0, "features", 1, 0)
    other = {
        "features": np.array([3.0, 4.5]),
        "masks": np.array([[[True, False]], [[False, False]]]),
        "boxes": reference["boxes"][::-1] + 2,
    }
    found = compare(other, reference)
    assert found == (pytest.approx(0.1), "features", 0.5, 2)
    assert beyond(found, TOLERANCES["half"]) == "a mask has an IoU of 0.500"
    assert beyond(found, TOLERANCES["fp32"]).count(", ") == 2
    wrong = found._replace(relative=float("nan"), iou=None, pixels=float("nan"))
    assert beyond(wrong, TOLERANCES["half"]) == "features differs by nan, a box is off by nan pixels"


def test_errors_are_found_wherever_they_lie_and_numbers_are_short():
    found = {"a": {"b": {"error": "x"}, "c": [1]}, "error": "y"}
    assert errors_in(found) == ["y", "a b: x"]
    assert plain({"x": (1 / 3, float("inf")), 2: None}) == {"x": [0.3333, "inf"], "2": None}
