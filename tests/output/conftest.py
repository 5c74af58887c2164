"""A run with odd label maps and names, for all that read run folders."""

from pathlib import Path

import pytest

from tests.output.odd_run import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tmp_path / "photos")
