"""``wsss-seed bench --peers``, the command itself, for model sets of two sizes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.pictures import SIZE, folder_of_pictures
from tests.benchmarks.gpu.scale import Scale

SETS = {"base": 16, "large": 8}
"""Model set -> number of images."""


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    for name, images in scale.pick(SETS, {"tiny": 2}).items():
        with tempfile.TemporaryDirectory() as folder:
            root = folder_of_pictures(Path(folder) / "images", images, scale.pick(SIZE, (160, 120)))
            given = {"--models": name, "--images": images, "--root": root, "--device": scale.device}
            words = [str(word) for pair in given.items() for word in pair]
            command = [sys.executable, "-m", "wsss_seed", "bench", *words, "--peers", "--json"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        yield {name: json.loads(done.stdout) if done.returncode == 0 else {"error": f"status {done.returncode}"}}
