"""Run one part in this process and print what it finds as one line of JSON.

python -m tests.benchmarks.gpu.report PART [--small]
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any

from tests.benchmarks.gpu.scale import Scale


class OutOfTime(BaseException):
    """The time of the part is over. Nothing that handles errors catches it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    faulthandler.enable()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no part of the answer
    signal.signal(signal.SIGTERM, _out_of_time)
    print(json.dumps(report(options.part, options.small)), file=answer, flush=True)


def report(part: str, small: bool) -> dict[str, Any]:
    """What a part finds, and its error, if any; also what it has found before the error."""
    start = time.monotonic()
    found: dict[str, Any] = {}
    error = ""
    try:
        scale = Scale.here(small)
        found |= {"device": scale.device, "small": scale.small}
        for piece in import_module(f"tests.benchmarks.gpu.{part}").run(scale):
            found |= plain(piece)
    except OutOfTime:
        error = "the time of this part is over"
    except Exception as raised:
        traceback.print_exc()
        error = described(raised)
    faults = [*([error] if error else []), *errors_in(found)]
    about = {"part": part, "seconds": round(time.monotonic() - start, 1)}
    return {**about, **({"error": "; ".join(faults)} if faults else {}), **found}


def described(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def errors_in(found: Any, place: str = "") -> list[str]:
    """What lies under a key ``error`` anywhere, with the keys that lead there."""
    if not isinstance(found, dict):
        return []
    own = [f"{place}: {found['error']}".removeprefix(": ")] if "error" in found else []
    return own + [text for key, value in found.items() for text in errors_in(value, f"{place} {key}".strip())]


def plain(value: Any) -> Any:
    """A value for JSON, with four digits; numbers that are not finite become text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value


def _out_of_time(_signal: int, _frame: Any) -> None:
    raise OutOfTime


if __name__ == "__main__":
    main()
    sys.stdout.flush()
