"""examples/end_to_end.py, run small: from images to the mIoU of a trained segmenter, by every backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "end_to_end.py"


@pytest.mark.slow
def test_seeds_training_prediction_and_the_table(tmp_path):
    small = ["--train", "24", "--val", "6", "--seeds", "0", "1"]
    small += ["--set", "train.max_iters=40", "--json", "figures.json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    for _ in range(2):  # the second time everything is finished
        result = subprocess.run(
            [sys.executable, str(SCRIPT), *small],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    rows = ["ground truth", "dino-sam, label-free", "dino-sam, image labels", "clip-sams, image labels"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == rows
    assert figures["ground truth"]["seeds"] == 1
    for row in figures.values():
        assert 0 < row["seeds"] <= 1
        assert len(set(row["val"])) == 2
        assert all(0 < value < 1 for value in row["val"])
    table = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ") and "---" not in line]
    assert [line[0].removeprefix("| ") for line in table] == ["trained on", *rows]
    whole = sum(figures["ground truth"]["val"])
    for (_, seeds, val, ratio), row in zip(table[1:], figures.values(), strict=True):
        assert float(seeds) == pytest.approx(100 * row["seeds"], abs=0.06)
        assert float(val.split()[0]) == pytest.approx(50 * sum(row["val"]), abs=0.06)
        assert val.endswith(f"({100 * min(row['val']):.1f} to {100 * max(row['val']):.1f})")
        assert float(ratio.split()[0]) == pytest.approx(100 * sum(row["val"]) / whole, abs=0.06)
    kept = tmp_path / "end_to_end" / "dino-sam-label-free"
    assert (kept / "segmenter-1" / "last.pt").is_file()
    assert len(list((kept / "val-1" / "SegmentationClass").glob("*.png"))) == 6
