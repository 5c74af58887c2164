"""Commands that are killed, interrupted, or fail at their file operations: nothing torn, and the next one completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The slow ones start with models; each of the others takes a tenth of a second.
SCENARIOS = {
    "generate": 200,
    "generate-resumed": 200,
    "generate-overwrite": 200,
    "generate-shard": 200,
    "export-mmseg": 100,
    "export-hf": 100,
    "export-coco": 100,
    "export-yolo": 100,
    "export-copy": 100,
    "export-overwrite": 200,
    "report": 50,
    "train-seg": 30,
    "learn-prompts": 30,
    "predict": 30,
}


def disturb(scenario: str, act: str, most: int, seed: int) -> None:
    command = [
        sys.executable,
        str(HERE / "every_operation.py"),
        scenario,
        act,
        "--most",
        str(most),
        "--seed",
        str(seed),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    environment["PYTHONPATH"] = str(HERE.parents[1])
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, f"--seed {seed}\n{result.stderr[-4000:]}"


@pytest.mark.parametrize(
    ("scenario", "act"), [("export-overwrite", "kill"), ("generate-overwrite", "kill"), ("generate-resumed", "EIO")]
)
def test_some_operations(scenario, act):
    disturb(scenario, act, 6, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["kill", "SIGINT", "ENOSPC", "EIO"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_operation(scenario, act):
    """Of many operations each time others; the seed is in the message."""
    disturb(scenario, act, SCENARIOS[scenario], seed=int.from_bytes(os.urandom(4)))
