"""Time and memory that a run takes at its start and its end where many images are finished.

``python many_records.py FOLDER [RECORDS]`` writes a manifest of lines of about 1 kB, opens the run as the next command
does, asks what is finished, brings it to its end, and prints processor seconds and megabytes as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import Record
from wsss_seed.output.run_folder import RunFolder, fingerprint

CATS = ClassSet("cats", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())


def write(path: Path, ids: list[str], settings: str) -> None:
    box = {"class": "cat", "score": 0.712345, "box": [12.5, 33.25, 250.125, 300.5], "state": "kept"}
    with open(path, "wb") as file:
        for id in ids:
            record = Record(
                id,
                "ok",
                present=("cat", "dog"),
                scores={"cat": 0.912345, "dog": 0.812345},
                size=(500, 375),
                pixels={"background": 100_000, "cat": 50_000, "dog": 37_500},
                ignore=0.0,
                seconds=0.5,
                evidence={"mode": "boxes", "detections": [box] * 5},
                mask=Stamp(3456, 1763730000123456789, "ab" * 32),
                image=Stamp(123456, 1763730000123456789, "cd" * 32),
                settings=settings,
                finished=1763730000.123,
            )
            file.write(record.to_line())


def main(folder: Path, records: int) -> None:
    ids = [f"{i // 1000:04}/image_{i:08}" for i in range(records)]
    samples = [Sample(id) for id in ids]
    with RunFolder(folder, CATS, {"a": 1}):
        pass
    write(folder / "manifest.jsonl", ids[::-1], fingerprint({"a": 1}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with RunFolder(folder, CATS, {"a": 1}) as run:
        run.former(samples)
        begun = time.process_time()
        run.finalize(ids)
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "records": records,
                "start_cpu_s": round(begun - start, 2),
                "end_cpu_s": round(ended - begun, 2),
                "samples_mb": round(before / 1024),  # interpreter, libraries and the dataset's own list
                "peak_mb": round(peak / 1024),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
