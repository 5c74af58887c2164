"""What CVAT exports: "Segmentation mask 1.1" and "COCO 1.0".

In ``SegmentationClass`` colours mean labels by ``labelmap.txt``. CVAT writes no file for an image without objects and
only lists it in ``ImageSets``. In COCO files later annotations are on top, which is the order in which CVAT shows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import read_rgb
from ...data.rle import Shape, checked_shape, rasterised
from ...errors import DataError, ImageError, one_line
from ...io.text import read_json, read_lines
from ..export.cvat import cvat_labels
from ..export.editor_labels import label_of
from ..finished import FinishedRun
from .edited import Edited, Options

NAME = "CVAT"

_UNKNOWN = 256  # a colour without a label


def read(place: Path, run: FinishedRun, options: Options) -> Iterator[Edited]:
    """The label maps in a folder or a JSON file. Raises DataError."""
    labels = cvat_labels(run.names)
    maps = sorted(place.rglob("labelmap.txt")) if place.is_dir() else []
    if maps:
        for path in maps:
            yield from _segmentation(path, labels, options)
        return
    tables = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    for path in tables:
        table = read_json(path)
        if isinstance(table, dict) and "annotations" in table and "images" in table:
            yield from _coco(path, table, labels, options)
        elif not place.is_dir():
            raise DataError(f"{path}: not COCO (no images and annotations); export from CVAT as COCO 1.0")


def _segmentation(path: Path, labels: Mapping[str, int], options: Options) -> Iterator[Edited]:
    table = _colours(path, labels)
    files = sorted((path.parent / "SegmentationClass").rglob("*.png"))
    masks = {file.stem for file in files}
    for file in files:
        yield Edited(file.name, partial(_decoded, file, table))
    for listed in sorted((path.parent / "ImageSets").rglob("*.txt")):
        for _, name in read_lines(listed):
            name = name.rpartition("/")[2]
            if name not in masks:
                yield Edited(name, _background if options.empty else None)


def _background(shape: tuple[int, int], before: np.ndarray | None) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def _colours(path: Path, labels: Mapping[str, int]) -> dict[int, tuple[int | None, str]]:
    """Colour as one number -> label, None if several have it, and its name."""
    table: dict[int, tuple[int | None, str]] = {}
    for number, line in read_lines(path):
        if line.startswith("#"):
            continue
        name, *rest = line.split(":")
        where = f"{path.name}, line {number}"
        values = rest[0].split(",") if rest else []
        if len(values) != 3 or not all(v.strip().isdecimal() and len(v) < 9 and int(v) < 256 for v in values):
            raise DataError(f"{where}: {line!r:.80} is not label:r,g,b:parts:actions; export from CVAT again")
        red, green, blue = map(int, values)
        colour = red << 16 | green << 8 | blue
        label = label_of(name.strip(), labels, where)
        if colour in table and table[colour][0] != label:
            table[colour] = (None, f"{table[colour][1]} and {name}")
        else:
            table[colour] = (label, name)
    return table


def _decoded(
    path: Path, table: Mapping[int, tuple[int | None, str]], shape: tuple[int, int], before: np.ndarray | None
) -> np.ndarray:
    """The label map of a file with colours."""
    try:
        image = read_rgb(path)
    except ImageError as error:
        raise DataError(str(error)) from None
    colours = image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
    known = np.full(1 << 24, _UNKNOWN, np.uint16)
    for colour, (label, _) in table.items():
        known[colour] = _UNKNOWN if label is None else label
    labels: np.ndarray = known[colours]
    wrong = labels == _UNKNOWN
    if wrong.any():
        value = int(colours[wrong].min())
        name = table.get(value, (None, ""))[1]
        shown = f"{value >> 16},{value >> 8 & 255},{value & 255}"
        why = f"which {name} share; give them different colours in CVAT" if name else "which labelmap.txt lacks"
        raise DataError(f"{path.name}: has the colour {shown}, {why}")
    found: np.ndarray = labels.astype(np.uint8)
    return found


def _coco(path: Path, table: dict[str, Any], labels: Mapping[str, int], options: Options) -> Iterator[Edited]:
    try:
        categories = {c["id"]: label_of(str(c["name"]), labels, path.name) for c in table["categories"]}
        objects: dict[Any, list[tuple[Any, Any, str]]] = defaultdict(list)
        for annotation in table["annotations"]:
            where = f"{path.name}: annotation {annotation.get('id')!r:.40}"
            if annotation.get("segmentation"):
                known = categories[annotation["category_id"]]
                objects[annotation["image_id"]].append((annotation["segmentation"], known, where))
        images = [(objects[i["id"]], str(i["file_name"]), (int(i["height"]), int(i["width"]))) for i in table["images"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: not COCO ({type(error).__name__}: {one_line(error)}); export it again") from None
    for shown, file, size in images:
        reader: Callable[..., np.ndarray] | None = None
        if shown or options.empty:
            reader = partial(_painted, shown, size)
        yield Edited(file.rpartition("/")[2], reader)


def paint(labels: np.ndarray, shape: Shape, label: int) -> None:
    """Set the pixels of a shape in a label map; of run lengths only the pixels inside are touched."""
    if not isinstance(shape, np.ndarray):
        labels[rasterised(shape, *labels.shape)] = label
        return
    ends = shape.cumsum()
    starts, lengths = ends[:-1:2], shape[1::2]
    lengths = lengths[: len(starts)]
    places = np.arange(lengths.sum()) + np.repeat(starts - (lengths.cumsum() - lengths), lengths)
    height = labels.shape[0]
    labels[places % height, places // height] = label


def _painted(
    objects: list[tuple[Any, int, str]], own: tuple[int, int], shape: tuple[int, int], before: np.ndarray | None
) -> np.ndarray:
    """Objects on background, later ones on top; an empty map of the stated size if that is not the shape."""
    if own != shape:
        if min(own) < 1 or own[0] * own[1] > 2**31:
            raise DataError(f"{objects[0][2] if objects else 'an image'}: {own[1]} x {own[0]} are not a size in pixels")
        return np.broadcast_to(np.uint8(0), own)
    out = np.zeros(shape, np.uint8)
    for segmentation, label, where in objects:
        try:
            checked: Shape | None = checked_shape(segmentation, *shape)
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise DataError(f"{where}: malformed ({one_line(error)}); correct or remove it") from None
        if checked is not None:
            paint(out, checked, label)
    return out
