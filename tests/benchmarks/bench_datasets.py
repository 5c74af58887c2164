"""Seconds and memory of opening a dataset, from 10^3 to 10^6 images, for each form of input.

    python tests/benchmarks/bench_datasets.py [--most 1000000] [--form folder ...] [--work DIR]

The images are empty files, because opening reads none of them. ``held`` is what the open dataset takes, ``peak`` the
most while it was opened, both of all that Python allocates (tracemalloc) and per image; ``open`` is measured in another
pass, since tracing costs time. ``ids`` and ``samples`` are one pass over all of them.
"""

from __future__ import annotations

import argparse
import gc
import platform
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from wsss_seed.data import open_dataset
from wsss_seed.data.base import Dataset

PER_FOLDER = 10_000


def name(i: int) -> str:
    """The id of an image: as long as ImageNet's, 33 characters."""
    return f"part-{i // PER_FOLDER:05}/n02110185_{i:08}_ab"


def files(root: Path, images: int, suffix: str) -> None:
    for i in range(images):
        if i % PER_FOLDER == 0:
            (root / name(i)).parent.mkdir(parents=True)
        (root / f"{name(i)}{suffix}").touch()


def folder(root: Path, images: int) -> Callable[[], Dataset]:
    files(root, images, ".jpg")
    return lambda: open_dataset("folder", root, classes="cat, dog")


def voc(root: Path, images: int) -> Callable[[], Dataset]:
    files(root / "JPEGImages", images, ".jpg")
    files(root / "SegmentationClass", images, ".png")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{name(i)}\n" for i in range(images)))
    return lambda: open_dataset("voc", root)


def labels(root: Path, images: int) -> Callable[[], Dataset]:
    files(root, images, ".jpg")
    rows = (f"{name(i)}.jpg,{('cat', 'dog', 'cat;dog')[i % 3]}\n" for i in range(images))
    (root / "labels.csv").write_text("image,label\n" + "".join(rows))
    return lambda: open_dataset("folder", root, classes="cat, dog")


def csv(root: Path, images: int) -> Callable[[], Dataset]:
    files(root, images, ".jpg")
    rows = (f"{name(i)}.jpg,{('cat', 'dog', 'cat;dog')[i % 3]}\n" for i in range(images))
    (root / "list.csv").write_text("path,labels\n" + "".join(rows))
    return lambda: open_dataset("folder", list=root / "list.csv", classes="cat, dog")


def tars(root: Path, images: int) -> Callable[[], Dataset]:
    member = tarfile.TarInfo()
    for number in range(-(-images // PER_FOLDER)):
        with tarfile.open(root / f"{number:05}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(number * PER_FOLDER, min(images, (number + 1) * PER_FOLDER)):
                member.name = f"{name(i)}.jpg"
                tar.addfile(member)
    return lambda: open_dataset("webdataset", root, classes="cat, dog")


FORMS = {"folder": folder, "folder with labels.csv": labels, "list with labels": csv, "webdataset": tars, "voc": voc}


def measure(form: str, images: int, work: Path) -> str:
    with tempfile.TemporaryDirectory(dir=work) as place:
        opened = FORMS[form](Path(place), images)
        start = time.perf_counter()
        data = opened()
        seconds = [time.perf_counter() - start]
        for sequence in (data.ids, data.samples):
            start = time.perf_counter()
            assert sum(1 for _ in sequence) == images
            seconds.append(time.perf_counter() - start)
        del data, sequence
        gc.collect()
        tracemalloc.start()
        data = opened()
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(data) == images
        shown = " | ".join(f"{value:.2f}" for value in seconds)
        return f"| {form} | {images} | {shown} | {held / images:.0f} | {peak / images:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=10**6)
    parser.add_argument("--form", nargs="*", choices=FORMS, default=list(FORMS))
    parser.add_argument("--work", type=Path, help="where to make the files")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.system()}; ids of {len(name(0))} characters\n")
    print("| form | images | open, s | ids, s | samples, s | held, bytes per image | peak, bytes per image |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for form in given.form:
        images = 1000
        while images <= given.most:
            print(measure(form, images, given.work), flush=True)
            images *= 10


if __name__ == "__main__":
    main()
