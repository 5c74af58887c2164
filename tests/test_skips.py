"""A skip in CI that nobody has listed fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.skipif(True, reason="no GPU here")
def test_listed():
    pass

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    raise AssertionError
"""


def run_pytest(folder: Path, ci: str, **modules: str) -> tuple[int, str]:
    """Exit status and report of a session of its own with the hook and nothing else of this suite."""
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    repository = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", "-rf", "-q", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(repository), "CI": ci}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_listed_reasons_and_expected_failures_pass(tmp_path: Path):
    status, report = run_pytest(tmp_path, "true", a=TESTS)
    assert status == 0, report
    assert "1 passed, 1 skipped, 1 xfailed" in report


@pytest.mark.parametrize(
    "unlisted",
    [
        "@pytest.mark.skipif(True, reason='too slow')\ndef test_b():\n    pass",
        "def test_b():\n    pytest.skip('too slow')",
        "@pytest.fixture\ndef f():\n    pytest.skip('too slow')\n\ndef test_b(f):\n    pass",
        "pytest.skip('too slow', allow_module_level=True)",
    ],
)
def test_an_unlisted_reason_fails_in_ci_only(tmp_path: Path, unlisted: str):
    modules = {"a": TESTS, "b": f"import pytest\n\n{unlisted}\n"}
    status, report = run_pytest(tmp_path, "true", **modules)
    assert status != 0
    assert "skipped for a reason that tests/skips.py does not list: too slow" in report
    assert "test_b" in report
    status, report = run_pytest(tmp_path, "", **modules)
    assert status == 0, report
    assert "1 passed, 2 skipped, 1 xfailed" in report


def test_missing_libraries_fail_in_ci(tmp_path: Path):
    status, report = run_pytest(tmp_path, "true", b="import pytest\n\npytest.importorskip('no_such_library')\n")
    assert status != 0
    assert "could not import 'no_such_library'" in report
