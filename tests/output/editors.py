"""What tests of editors share: edited exports, and the Pythons of environments with the editors' own libraries."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_seed.data.corrections import CorrectionLog
from wsss_seed.data.images import read_labels
from wsss_seed.output.finished import open_run


def environment(name: str) -> Path:
    """The Python of an environment, which examples/editors.md tells how to make; skips the test without it."""
    folder = os.environ.get("WSSS_SEED_EDITORS", "")
    python = Path(folder, name, "bin", "python")
    if not folder or not python.exists():
        pytest.skip(f"WSSS_SEED_EDITORS names no folder with the environment {name}")
    return python


def outside(python: Path, script: Path, *arguments: object, cwd: Path) -> Any:
    """The JSON in the last line that a script prints, run with another Python and nothing of this one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WSSS_SEED_"))}
    command = [str(python), str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def in_use(run: Path, id: str) -> np.ndarray:
    """The label map in use."""
    return read_labels(open_run(run).mask(id))


def correct(run: Path, id: str, labels: np.ndarray, what: str = "brush") -> None:
    """Correct a mask in the run."""
    found = open_run(run, corrected=False)
    with CorrectionLog(run, found.names, found.palette, "Ann") as log:
        last = log.latest(id)
        log.decide(id, revision=last.revision if last else 0, verdict="open", labels=labels, what=what)


def repaint(path: Path, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    """Fill a rectangle of a PNG with a colour, as RGB."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = colour
    Image.fromarray(pixels).save(path)
