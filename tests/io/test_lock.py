"""Locks between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from wsss_seed.io.lock import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def other(path: Path, *, shared: bool) -> bool:
    """Whether another process can take the lock."""
    code = "import sys, pathlib; from wsss_seed.io.lock import Lock; " + (
        f"sys.exit(0 if Lock(pathlib.Path(sys.argv[1])).take(shared={shared}) else 3)"
    )
    return subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0


def test_an_exclusive_lock_keeps_others_out_until_it_is_released(path: Path):
    lock = Lock(path)
    assert lock.works()
    assert lock.take(shared=False)
    assert not other(path, shared=True)
    lock.release()
    assert other(path, shared=False)
    lock.close()


def test_shared_locks_keep_exclusive_ones_out(path: Path):
    lock = Lock(path)
    assert lock.take(shared=True)
    assert other(path, shared=True)
    assert not other(path, shared=False)
    lock.close()
    assert other(path, shared=False)
