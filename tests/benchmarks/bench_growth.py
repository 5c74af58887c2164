"""How time and memory grow with the number of images, for a seeder that does nothing.

``python tests/benchmarks/bench_growth.py [--most 1000000] [--form folders ...] [--folder FOLDER]``

For 10^3, 10^4, ... images, each in a process of its own: a run of a few images that makes masks, for the time of an
image; and a run whose masks are all made, which is what a resumed run does before its first image and after its last.
The files are hard links to a few, so that a million of them fit on a small disk. Times are processor time, which other
work on the machine changes less, but for ``evaluate`` and the new masks.

Forms: ``folders``, images in folders of a thousand; ``flat`` and ``nested``, images in one folder, in run folders of
these layouts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.data.folder import Folder
from wsss_seed.data.voc_layout import Layout
from wsss_seed.io.progress import Progress
from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import Record
from wsss_seed.output.run_folder import confidence_path, fingerprint, image_path, mask_path
from wsss_seed.run.generate import generate
from wsss_seed.types import LoadedSample, Seed

CATS = ClassSet("cats", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())
FOLDER, LINKS = 1000, 50_000
FORMS: dict[str, Layout] = {"folders": "flat", "flat": "flat", "nested": "nested"}
SCORED = 10_000  # label maps that are scored at most


class Nothing:
    """Paints nothing."""

    needs_boxes = False
    settings: ClassVar[dict[str, bool]] = {"nothing": True}

    def seed(self, loaded: LoadedSample) -> Seed:
        height, width = loaded.image.shape[:2]
        return Seed(np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32), ())


class Links:
    """Hard links to a file, and to copies of it where the file system allows no more."""

    def __init__(self, source: Path) -> None:
        self.source, self.data, self.made = source, source.read_bytes(), 0

    def at(self, path: Path) -> None:
        self.made += 1
        if self.made % LINKS == 0:
            self.source = self.source.with_name(f"{self.source.stem.partition('-')[0]}-{self.made}{self.source.suffix}")
            self.source.write_bytes(self.data)
            os.utime(self.source, (1_700_000_000,) * 2)
        os.link(self.source, path)


def names(images: int, form: str) -> list[str]:
    return [f"{i // FOLDER:04}/" * (form == "folders") + f"image_{i:08}" for i in range(images)]


def prepare(home: Path, images: int, form: str) -> None:
    """Photographs, and a run folder in which all masks are made."""
    photos, run, sources, layout = home / "photos", home / "run", home / "sources", FORMS[form]
    sources.mkdir(parents=True)
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 255, (24, 32, 3), np.uint8)).save(sources / "photo.jpg")
    photos.mkdir()
    os.link(sources / "photo.jpg", photos / "one.jpg")
    generate(Folder(photos, CATS), Nothing(), run, settings=Nothing.settings, layout=layout)  # a mask and its record
    (photos / "one.jpg").unlink()
    places = {"mask": mask_path(run, "one", layout), "confidence": confidence_path(run, "one", layout)}
    links = {"photo": Links(sources / "photo.jpg")}
    for kind, path in places.items():
        path.rename(sources / f"{kind}.png")
        links[kind] = Links(sources / f"{kind}.png")
    for link in links.values():
        os.utime(link.source, (1_700_000_000,) * 2)
    stamps = {kind: Stamp.of(link.source) for kind, link in links.items()}
    line = json.loads((run / "manifest.jsonl").read_text())
    settings = fingerprint({**Nothing.settings, "orientation": "stored"})
    known: set[Path] = set()
    with open(run / "manifest.jsonl", "wb") as manifest:
        for id in names(images, form):
            photo, link = photos / f"{id}.jpg", image_path(run, id, layout)
            mask, confidence = mask_path(run, id, layout), confidence_path(run, id, layout)
            for folder in {path.parent for path in (photo, link, mask, confidence)} - known:
                folder.mkdir(parents=True, exist_ok=True)
                known.add(folder)
            links["photo"].at(photo)
            links["mask"].at(mask)
            links["confidence"].at(confidence)
            link.symlink_to(photo)
            record = Record(
                id,
                "ok",
                size=(32, 24),
                pixels={"background": 768},
                ignore=0.0,
                seconds=0.5,
                evidence={"padding": "x" * 500},  # as much as detections take
                mask=stamps["mask"],
                image=stamps["photo"],
                settings=settings,
                finished=line["finished"],
            )
            manifest.write(record.to_line())


class Watch(Progress):
    """Notes when the first image would be processed."""

    def __init__(self) -> None:
        self.started = 0.0

    def start(self, total: int, finished: int, processed: Sequence[bool] = ()) -> None:
        self.started = time.process_time()

    def stop(self) -> None:
        pass


def peak() -> int:
    """Most memory of this process so far in bytes; ``getrusage`` would count that of its parent."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def measure(home: Path) -> None:
    """Resume twice: the first run after others has a manifest to write, the second has nothing to do."""
    before = peak()
    found: dict[str, float] = {}
    for what in ("first", "again"):
        watch, begin = Watch(), time.process_time()
        data = Folder(home / "photos", CATS)
        listed = time.process_time()
        result = generate(data, Nothing(), home / "run", settings=Nothing.settings, progress=watch)
        ended = time.process_time()
        times = {"listed": listed - begin, "start": watch.started - listed, "end": ended - watch.started}
        found |= {f"{what} {name}": seconds for name, seconds in times.items()} | {what: ended - begin}
    found["memory"] = peak() - before
    from wsss_seed.evaluation.evaluate import evaluate  # their imports would hide what was measured
    from wsss_seed.output.status import status

    found |= {"images": len(result.ids), "skipped": result.skipped}
    begin = time.process_time()
    found["done"] = status(home / "run").done
    found["status"] = time.process_time() - begin
    if len(data) <= SCORED:
        begin = time.monotonic()
        assert evaluate(home / "run", home / "run").complete
        found["evaluate"] = time.monotonic() - begin
    print(json.dumps(found))


def fresh(home: Path, images: int) -> float:
    """Milliseconds per image of a run that makes masks, in this process."""
    photos = home / "photos"
    photos.mkdir(parents=True)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(home / "photo.jpg")
    for i in range(images):
        os.link(home / "photo.jpg", photos / f"{i:06}.jpg")
    start = time.monotonic()
    generate(Folder(photos, CATS), Nothing(), home / "run", settings=Nothing.settings)
    return (time.monotonic() - start) / images * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--form", nargs="*", choices=FORMS, default=list(FORMS))
    parser.add_argument("--folder", type=Path, help="where the files are made, by default a temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(f"a new mask of 32 x 24 pixels: {fresh(Path(folder) / 'fresh', 2000):.2f} ms")
    columns = {"list": "again listed", "start": "again start", "end": "first end", "again": "again", "status": "status"}
    shown = " | ".join(f"{name}, s" for name in (*columns, "evaluate"))
    print(f"| form | images | {shown} | bytes per image |\n|{' --- |' * (len(columns) + 4)}")
    for form in options.form:
        images = 1000
        while images <= options.most:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                prepare(Path(folder), images, form)
                command = [sys.executable, __file__, "--measure", folder]
                found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            assert found["skipped"] == found["images"] == found["done"] == images, found
            cells = [f"{found[name]:.2f}" for name in columns.values()]
            cells += [f"{found['evaluate']:.2f}" if "evaluate" in found else "", f"{found['memory'] / images:.0f}"]
            print(f"| {form} | {images} | {' | '.join(cells)} |", flush=True)
            images *= 10


if __name__ == "__main__":
    main()
