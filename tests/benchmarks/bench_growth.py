"""How time and memory grow with the number of images, for a seeder that does nothing.

``python tests/benchmarks/bench_growth.py [--most 1000000] [--keep FOLDER]``

For 10^3, 10^4, ... images, each in a process of its own: a run of a few images that makes masks, for the time of an
image; and a run whose masks are all made, which is what a resumed run does before its first image. The files are hard
links to a few, so that a million of them fit on a small disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.data.folder import Folder
from wsss_seed.io.stamp import Stamp
from wsss_seed.output.manifest import Record
from wsss_seed.output.run_folder import confidence_path, fingerprint, image_path, mask_path
from wsss_seed.run.generate import generate
from wsss_seed.types import LoadedSample, Seed

CATS = ClassSet("cats", ("cat", "dog"), (("cat",), ("dog",)), ("cat", "dog"), ("grass",), voc_palette())
FOLDER, LINKS = 1000, 50_000


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


def names(images: int) -> list[str]:
    return [f"{i // FOLDER:04}/image_{i:08}" for i in range(images)]


def prepare(home: Path, images: int) -> None:
    """Photographs, and a run folder in which all masks are made."""
    photos, run, sources = home / "photos", home / "run", home / "sources"
    sources.mkdir(parents=True)
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 255, (24, 32, 3), np.uint8)).save(sources / "photo.jpg")
    (photos / "x").mkdir(parents=True)
    os.link(sources / "photo.jpg", photos / "x/one.jpg")
    generate(Folder(photos, CATS), Nothing(), run, settings=Nothing.settings)  # for one mask and its record
    places = {"mask": mask_path(run, "x/one", "flat"), "confidence": confidence_path(run, "x/one", "flat")}
    links = {"photo": Links(sources / "photo.jpg")}
    for kind, path in places.items():
        (sources / f"{kind}.png").write_bytes(path.read_bytes())
        links[kind] = Links(sources / f"{kind}.png")
    for link in links.values():
        os.utime(link.source, (1_700_000_000,) * 2)
    stamps = {kind: Stamp.of(link.source) for kind, link in links.items()}
    line = json.loads((run / "manifest.jsonl").read_text())
    settings = fingerprint({**Nothing.settings, "orientation": "stored"})
    with open(run / "manifest.jsonl", "wb") as manifest:
        for i, id in enumerate(names(images)):
            if i % FOLDER == 0:
                for folder in (photos, mask_path(run, "x", "flat").parent, confidence_path(run, "x", "flat").parent):
                    (folder / id.partition("/")[0]).mkdir()
                (image_path(run, "x", "flat").parent / id.partition("/")[0]).mkdir()
            links["photo"].at(photos / f"{id}.jpg")
            links["mask"].at(mask_path(run, id, "flat"))
            links["confidence"].at(confidence_path(run, id, "flat"))
            image_path(run, id, "flat").symlink_to(photos / f"{id}.jpg")
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
    (photos / "x/one.jpg").unlink()
    (photos / "x").rmdir()
    (mask_path(run, "x/one", "flat")).unlink()


def measure(home: Path) -> None:
    """Resume twice: the first run after others has a manifest to write, the second has nothing to do."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(2):
        start = time.monotonic()
        data = Folder(home / "photos", CATS)
        listed = time.monotonic() - start
        result = generate(data, Nothing(), home / "run", settings=Nothing.settings)
        times.append(time.monotonic() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = {"images": len(result.ids), "skipped": result.skipped, "listed": listed, "times": times}
    print(json.dumps({**values, "memory": (peak - before) * 1024}))


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
    parser.add_argument("--folder", type=Path, help="where the files are made, by default a temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(f"a new mask of 32 x 24 pixels: {fresh(Path(folder) / 'fresh', 2000):.2f} ms")
        print(f"{'images':>9} {'list s':>7} {'start and end s':>16} {'again s':>8} {'bytes per image':>16}")
        images = 1000
        while images <= options.most:
            home = Path(folder) / str(images)
            prepare(home, images)
            command = [sys.executable, __file__, "--measure", str(home)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            assert found["skipped"] == found["images"] == images, found
            first, again = found["times"]
            print(
                f"{images:9} {found['listed']:7.2f} {first:16.2f} {again:8.2f} {found['memory'] / images:16.0f}",
                flush=True,
            )
            images *= 10


if __name__ == "__main__":
    main()
