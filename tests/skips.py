"""In CI a test may be skipped for a reason in this list only; any other skip fails the test.

Without this a missing library or file would switch tests off unnoticed. A pytest plugin, which ``conftest.py`` loads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

ALLOWED = [
    # Data and programs that the project neither ships nor installs.
    r"no real photographs at .*; set WSSS_SEED_REAL_DATA",
    r"no VOC label maps below ",
    r"no .* in the folder of WSSS_SEED_PUBLISHED_IMAGES",
    r"no weights of .* here; wsss-seed models pull ",
    r"no chromium; install one or set WSSS_SEED_CHROMIUM",
    r"WSSS_SEED_MMSEG_PYTHON does not name the Python",
    r"WSSS_SEED_EDITORS names no folder with the environment \w+",
    r"the environment of .* has no \w+; ",
    # What the machine lacks or forbids; Linux is assumed.
    r"no GPU here",
    r"every format can be read here",  # with the extras of CI
    r"root may write everywhere",
    r"needs a user namespace to mount a small file system",  # containers seldom allow it
    # The test interrupts a process, which may end first.
    r"the run was over before it could be interrupted",
]


def check(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip for an unlisted reason into a failure."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not any(re.match(pattern, reason) for pattern in ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"skipped for a reason that tests/skips.py does not list: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    check(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    check(report)
    return report
