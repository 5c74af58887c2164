"""What FiftyOne exports: a FiftyOneDataset, or an ImageSegmentationDirectory.

In the first, ``samples.json`` names the file of each mask, or contains it as an array. The second is a folder with
``labels/<name>.png``. Values of masks are labels; those of the field ``mask`` are imported.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...data.classes import IGNORE
from ...data.images import max_pixels, read_labels
from ...errors import DataError, ImageError, one_line
from ...io.text import read_json
from ..export.tags import find_tag
from ..finished import FinishedRun
from .edited import Edited, Options

NAME = "FiftyOne"
FIELD = "mask"


def read(place: Path, run: FinishedRun, options: Options) -> Iterator[Edited]:
    """The masks in a folder, or of the samples of a JSON file. Raises DataError."""
    classes = len(run.names)
    tables = [place] if place.is_file() else sorted(p for p in place.rglob("samples.json") if p.is_file())
    for path in tables:
        table = read_json(path)
        samples = table.get("samples") if isinstance(table, dict) else None
        if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
            raise DataError(f"{path}: not samples of FiftyOne; export it as FiftyOneDataset")
        for sample in samples:
            texts = [str(sample.get(key)) for key in ("wsss_seed", "filepath")]
            name = PurePosixPath(next((text for text in texts if find_tag(text)), texts[-1])).name
            mask = sample.get(FIELD)
            reader = None if mask is None else partial(_of_sample, mask, path.parent, classes, name)
            yield Edited(name, reader)
    if not tables:
        for file in sorted(place.rglob("labels/*.png")):
            yield Edited(file.name, partial(_of_file, file, classes, file.name))


def _of_sample(
    mask: Any, folder: Path, classes: int, name: str, shape: tuple[int, int], before: np.ndarray | None
) -> np.ndarray:
    if not isinstance(mask, dict) or mask.get("_cls", "Segmentation") != "Segmentation":
        raise DataError(f"{name}: its field {FIELD} is no Segmentation; export the field of masks under this name")
    place, array = mask.get("mask_path"), mask.get("mask")
    if isinstance(place, str):
        if not Path(place).is_absolute() and ".." in PurePosixPath(place.replace("\\", "/")).parts:
            raise DataError(f"{name}: its mask_path {place!r:.80} leads out of the export")
        return _of_file(folder / place, classes, name, shape, before)
    if array is None:
        raise DataError(f"{name}: its field {FIELD} has neither a file nor an array; export it again")
    try:
        return _checked(_array(array), classes, name)
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{name}: damaged mask ({one_line(error)}); export it again") from None


def _of_file(file: Path, classes: int, name: str, shape: tuple[int, int], before: np.ndarray | None) -> np.ndarray:
    try:
        return _checked(read_labels(file), classes, name)
    except ImageError as error:
        raise DataError(str(error)) from None


def _array(value: Any) -> np.ndarray:
    """An array of NumPy, compressed by zlib, as base64: in MongoDB's notation for bytes, or by itself."""
    if isinstance(value, Mapping):
        value = value["$binary"]["base64"]
    packed = base64.b64decode(value, validate=True)
    limit = 8 * max_pixels() + 4096
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, limit)
    if unpacker.unconsumed_tail:
        raise ValueError(f"more than {limit} bytes")
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind not in "iub" or not array.size:
        raise ValueError(f"{array.dtype} {array.shape} is no label map")
    if array.min() < 0 or array.max() > IGNORE:
        raise ValueError(f"values from {array.min()} to {array.max()}")
    labels: np.ndarray = array.astype(np.uint8)
    return labels


def _checked(labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    beyond = labels[(labels >= classes) & (labels != IGNORE)]
    if beyond.size:
        raise DataError(f"{name}: has the value {beyond[0]}, but the run has {classes} classes with the background")
    return labels
