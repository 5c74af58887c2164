"""Images and annotations for CVAT, as "Segmentation mask 1.1" and as "COCO 1.0".

::

    OUT/images/<name>.jpg, .png, ...    the images of the task; <name> has a tag (see ``tags``)
    OUT/labels.json                     the labels of the task, for the tab Raw of its constructor
    OUT/segmentation_mask.zip           "Segmentation mask 1.1": labelmap.txt, ImageSets/Segmentation/default.txt,
                                        SegmentationClass/<name>.png, SegmentationObject/<name>.png
    OUT/coco.json                       "COCO 1.0": the same objects as run-length masks

Either annotation file can be uploaded; both hold the whole label map. An object is a connected region of a class.
Pixels of 255 are one object of the label ``ignore``, so that they can be edited like any other; background has none.

In ``labelmap.txt`` colours tell labels apart, so a class whose colour another one has gets a colour of its own. Its
fields are separated by colons, so labels with a colon have an underscore instead.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.classes import IGNORE, voc_palette
from ...io.files import write_text
from ...io.png import mask_bytes
from ..finished import FinishedRun
from .coco import annotation
from .editor_labels import Colour, distinct_colours, editor_labels
from .parts import Part
from .tags import Tagger

USE = (
    "a CVAT task with {out}/labels.json and {out}/images; upload {out}/segmentation_mask.zip as Segmentation mask 1.1; "
    "its export comes back with wsss-seed import cvat"
)

_MOST = 255  # objects of an image that a file of VOC's colours can tell apart
_WHEN = (1980, 1, 1, 0, 0, 0)  # so that equal exports have equal bytes


def cvat_labels(names: Sequence[str]) -> dict[str, int]:
    """Name in CVAT -> label of a label map, see ``editor_labels``; no name has a colon or begins with ``#``."""
    labels: dict[str, int] = {}
    for name, label in editor_labels(names).items():
        plain = name.replace(":", "_").strip()
        plain = f"_{plain[1:]}" if plain.startswith("#") else plain
        while plain in labels:
            plain += "_"
        labels[plain] = label
    return labels


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    labels, tagger = cvat_labels(run.names), Tagger(run)
    colours = distinct_colours(run.palette, labels)
    palette = [colours.get(value, colours[0]) for value in range(256)]
    # Background is the label 0 of COCO's importers too, so that ids are those of the label map.
    categories = [{"id": label, "name": name, "supercategory": ""} for name, label in labels.items() if label]
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    with zipfile.ZipFile(folder / "segmentation_mask.zip", "w") as archive:
        _put(archive, "labelmap.txt", label_map(labels, colours).encode())
        names = []
        for picture in parts[0]:
            name = tagger.name(picture.entry.id, picture.entry.mask)
            file = f"{name}{picture.suffix}"
            picture.put_image(folder / "images" / file)
            objects = object_map(picture.labels)
            _put(archive, f"SegmentationClass/{name}.png", mask_bytes(picture.labels, palette))
            _put(archive, f"SegmentationObject/{name}.png", mask_bytes(objects, voc_palette()))
            names.append(name)
            height, width = picture.labels.shape
            images.append({"id": len(names), "file_name": file, "width": width, "height": height})
            for runs in object_runs(objects).values():
                row, column = runs[0] % height, runs[0] // height  # the first pixel: runs go down the columns
                label = int(picture.labels[row, column])
                found.append(annotation(len(found) + 1, len(names), label, runs, (height, width)) | {"iscrowd": 1})
        _put(archive, "ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in names).encode())
    about = {"description": f"{run.path.name}: pseudo-masks"}
    table = {"info": about, "images": images, "annotations": found, "categories": categories}
    write_text(folder / "coco.json", json.dumps(table))
    shown = [{"name": name, "color": _hex(colours[label]), "attributes": []} for name, label in labels.items() if label]
    write_text(folder / "labels.json", json.dumps(shown, indent=2) + "\n")


def label_map(labels: Mapping[str, int], colours: Mapping[int, Colour]) -> str:
    """The content of ``labelmap.txt``: ``label:r,g,b:parts:actions``."""
    lines = [f"{name}:{','.join(map(str, colours[label]))}::\n" for name, label in labels.items()]
    return "".join(["# label:color_rgb:parts:actions\n", *lines])


def object_map(labels: np.ndarray) -> np.ndarray:
    """The objects of a label map, uint8 (H, W), numbered from 1; 0 is background.

    The connected regions of the classes, 8-connected, the largest first; those beyond the 255 that can be told apart
    are one object per class. All pixels of 255 are one object.
    """
    import cv2

    shown = [int(label) for label in np.unique(labels) if label not in (0, IGNORE)]
    pieces: list[tuple[int, int, int]] = []  # size, label, number within the label
    numbered = {}
    for label in shown:
        count, numbered[label], stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        pieces += [(int(stats[piece, cv2.CC_STAT_AREA]), label, piece) for piece in range(1, count)]
    pieces.sort(key=lambda piece: (-piece[0], piece[1:]))
    objects = np.zeros(labels.shape, np.uint8)
    room = _MOST - 1
    if len(pieces) > room:
        room -= len(shown)
        for number, label in enumerate(shown, room + 1):
            objects[labels == label] = number
    for label in shown:
        table = np.zeros(int(numbered[label].max()) + 1, np.uint8)
        for number, (_, owner, piece) in enumerate(pieces[:room], 1):
            if owner == label:
                table[piece] = number
        own = table[numbered[label]]
        objects[own > 0] = own[own > 0]
    objects[labels == IGNORE] = _MOST
    return objects


def object_runs(objects: np.ndarray) -> dict[int, list[int]]:
    """COCO's run lengths of each object, by number; see ``data.rle``. All in one pass, whatever their number.

    Args:
        objects: uint8 (H, W); see ``object_map``.
    """
    flat = objects.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    found = {}
    for number in np.unique(values[values > 0]):
        own = values == number
        edges = np.stack([starts[own], ends[own]], 1).ravel()
        found[int(number)] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return found


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    about = zipfile.ZipInfo(name, _WHEN)
    about.external_attr = 0o644 << 16
    packed = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    archive.writestr(about, data, compress_type=packed)
