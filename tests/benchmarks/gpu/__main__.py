"""Run parts, each in a process of its own with a time limit, and print one line of JSON per part.

    python -m tests.benchmarks.gpu [PART ...] [--small] [--seconds 540]

A part that exceeds its limit is asked to stop and reports what it has found until then; the next one starts. With the
variable OUT, lines are also appended to OUT/gpu.jsonl, and what the parts say is in OUT/gpu.log instead of on standard
error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

PARTS = {
    "environment": 30,
    "smoke": 90,
    "equality": 90,
    "memory": 60,
    "bench": 110,
    "proposals": 60,
    "training": 70,
    "processes": 60,
    "batches": 90,
}
"""Part -> limit in seconds, in order of worth; a part is its module's ``run``."""

SECONDS = 540.0
"""Limit of all parts together; with more, those of the parts grow in proportion."""

_SHORTEST = 10.0  # seconds below which no part is started
_GRACE = 10.0  # seconds in which a part that was asked to stop has to report


def main() -> int:
    """Exit status: 0 if no part has an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--small", action="store_true", help="miniatures and few images, as without a GPU")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of all parts together")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; parts import torch before it
    end, failed = time.monotonic() + options.seconds, False
    for part in options.parts or PARTS:
        limit = min(PARTS[part] * max(1.0, options.seconds / SECONDS), end - time.monotonic() - _GRACE)
        found = _run(part, options.small, limit) if limit >= _SHORTEST else _not_run(part, "no time is left")
        line = json.dumps(found)
        print(line, flush=True)
        if out := os.environ.get("OUT"):
            with (Path(out) / "gpu.jsonl").open("a") as file:
                file.write(f"{line}\n")
        failed |= "error" in found
    return int(failed)


def _run(part: str, small: bool, limit: float) -> dict[str, Any]:
    """What a part reports; its error if it reports nothing."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu.report", part, *(["--small"] if small else [])]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True)
        try:
            printed, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                printed, _ = process.communicate(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                printed = ""
        finally:
            _end(process)
        said.seek(0)
        text = said.read()
    _log(part, text)
    if printed.strip():
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found
    last = (text.strip().splitlines() or [""])[-1]
    how = f"no answer within {limit:.0f} s" if process.returncode in (-signal.SIGTERM, -signal.SIGKILL) else "ended"
    return _not_run(part, f"{how} with status {process.returncode}; {last}")


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a part and of the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _not_run(part: str, why: str) -> dict[str, Any]:
    return {"part": part, "error": why}


def _log(part: str, text: str) -> None:
    out = os.environ.get("OUT")
    file: IO[str] = (Path(out) / "gpu.log").open("a") if out else sys.stderr
    file.write(f"--- {part}\n{text}")
    file.flush()
    if out:
        file.close()


if __name__ == "__main__":
    sys.exit(main())
