"""A run whose label maps have all that formats stumble over, and class names nobody should believe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import ClassSet, voc_palette
from wsss_seed.data.images import read_rgb
from wsss_seed.data.voc_layout import Layout
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.types import Seed

NAMES = ("cat", 'a "quoted" <b>dog</b>', "</script><script>alert(1)</script>", "{{ fileDirname }}: ünï'cødé")
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 200, 0), (0, 0, 250), (200, 180, 0), *voc_palette()[5:])
CLASSES = ClassSet("odd", NAMES, tuple((n,) for n in NAMES), NAMES, ("grass",), PALETTE)
NOISE = 'noise <img src=x onerror=alert(4)> "q" &amp;'


def label_maps() -> dict[str, np.ndarray]:
    """Label maps by id."""
    maps = {name: np.zeros((40, 60), np.uint8) for name in ("ring", "rings", "specks", "images/test/x__y", "touching")}
    maps["ring"][5:30, 5:40] = 1
    maps["ring"][10:20, 15:30] = 0
    maps["rings"][2:38, 2:58] = 2
    for left in (5, 14, 23, 40):
        maps["rings"][6:12, left : left + 6] = 0
        maps["rings"][20:34, left : left + 3] = 255
    maps["rings"][8:10, 42:44] = 3
    maps["specks"][3, 3] = 1
    maps["specks"][10, 10:12] = 1
    maps["specks"][20:23, 20] = 2
    maps["specks"][30, 30] = maps["specks"][31, 31] = 4
    maps["images/test/x__y"][:, :20] = 4
    maps["images/test/x__y"][10:20, 10:50] = 3
    maps["touching"][:20] = 1
    maps["touching"][20:] = 2
    maps["touching"][15:25, 25:35] = 255
    maps["void"] = np.full((9, 7), 255, np.uint8)
    maps["empty"] = np.zeros((2, 3), np.uint8)
    dice = np.random.default_rng(0)
    blocks = dice.integers(0, 5, (12, 10)).astype(np.uint8)
    maps[NOISE] = np.kron(blocks, np.ones((5, 5), np.uint8))
    maps[NOISE][dice.random(maps[NOISE].shape) < 0.1] = 255
    return maps


def write_run(folder: Path, images: Path, broken: bool = True, layout: Layout | None = None, **settings: Any) -> Path:
    """Write the run and return it; images with even places are JPEG files in ``images``, the others were drawn."""
    dice = np.random.default_rng(1)
    maps = label_maps()
    about = {"dataset": {"name": "odd", "split": "odd list"}, "note": "</script><b>bold</b>", **settings}
    with RunFolder(folder, CLASSES, about, split="odd list", layout=layout) as run:
        for place, (name, labels) in enumerate(maps.items()):
            image = dice.integers(0, 256, (*labels.shape, 3), np.uint8)
            source = None
            if place % 2 == 0:
                source = images / f"{place}.jpg"
                images.mkdir(exist_ok=True)
                Image.fromarray(image).save(source)
            confidence = dice.random(labels.shape, np.float32) * (0.5 + place / 20)
            present = tuple(int(v) - 1 for v in np.unique(labels) if v not in (0, 255))
            seed = Seed(labels, confidence, present, dict.fromkeys(present, 0.5), {}, (f"<i>{name}</i>",))
            run.save(Sample(name, source), image, seed, 0.1)
        if broken:
            run.fail(Sample("<img src=x onerror=alert(2)>"), "not an image <script>alert(3)</script>", 0.0)
        run.finalize([*maps, "<img src=x onerror=alert(2)>", *(["to come"] if broken else [])])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder by relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def image_of(run: Path, name: str) -> np.ndarray:
    """The pixels of an image of the run."""
    return read_rgb(run / "JPEGImages" / f"{name}.jpg")
