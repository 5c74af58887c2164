"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, and before torch is imported

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs, which the project does not ship."""
    folder = Path(os.environ.get("WSSS_SEED_REAL_DATA") or REPOSITORY.parent / "shared" / "data" / "real")
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}; set WSSS_SEED_REAL_DATA to the folder that has them")
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``wsss-seed`` as a user does, in a process of its own and a folder of its own."""

    def run(*args: object, env: dict[str, str] | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
        return subprocess.run(
            [sys.executable, "-m", "wsss_seed", *map(str, args)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean, "HF_HUB_OFFLINE": "1", **(env or {})},
            timeout=timeout,
            check=False,
        )

    return run
