"""COCO JSON with run-length masks.

::

    OUT/images/train/<id>.jpg, .png, ...
    OUT/annotations/instances_train.json    one annotation per connected region of a class
    OUT/annotations/stuff_train.json        one annotation per class and image, including background

and the same with ``val``. A label map has no objects: touching objects of one class form one region, and a partly
hidden object may form several. Only the stuff file is equivalent to the label maps: its regions do not overlap, and
pixels outside of all regions are 255.

Category ids are the labels, 0 for background; COCO's 80 classes keep COCO's category ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.classes import IGNORE, load_class_set
from ...data.coco import CATEGORY_IDS
from ...io.files import write_text
from ..finished import FinishedRun
from .parts import Part

USE = "pycocotools.coco.COCO('{out}/annotations/stuff_train.json')    (or instances_train.json)"


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    ids = category_ids(run.names)
    categories = [
        {"id": id, "name": name, "supercategory": "background" if label == 0 else "object"}
        for label, (id, name) in enumerate(zip(ids, run.names, strict=True))
    ]
    for part in parts:
        images: list[dict[str, Any]] = []
        stuff: list[dict[str, Any]] = []
        instances: list[dict[str, Any]] = []
        for number, picture in enumerate(part, 1):
            file = f"{picture.entry.id}{picture.suffix}"
            picture.put_image(folder / "images" / part.name / file)
            height, width = picture.labels.shape
            images.append({"id": number, "file_name": file, "width": width, "height": height})
            for found, masks in ((stuff, _classes(picture.labels)), (instances, _regions(picture.labels))):
                for label, mask in masks:
                    found.append(annotation(len(found) + 1, number, ids[label], mask))
        about = {"description": f"{run.path.name}: pseudo-masks" if part.name == "train" else part.name}
        for kind, found, known in (("stuff", stuff, categories), ("instances", instances, categories[1:])):
            table = {"info": about, "images": images, "annotations": found, "categories": known}
            write_text(folder / "annotations" / f"{kind}_{part.name}.json", json.dumps(table))


def category_ids(names: Sequence[str]) -> list[int]:
    """The category id of each label: the label itself, or COCO's ids if the classes are those of COCO."""
    if tuple(names[1:]) == load_class_set("coco").names:
        return [0, *CATEGORY_IDS]
    return list(range(len(names)))


def _classes(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The label and mask bool (H, W) of each class in a label map."""
    for label in np.unique(labels):
        if label != IGNORE:
            yield int(label), labels == label


def _regions(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The label and mask bool (H, W) of each 8-connected region of a foreground class."""
    import cv2

    for label, mask in _classes(labels):
        if label:
            count, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            for piece in range(1, count):
                yield label, pieces == piece


def annotation(
    id: int, image: int, category: int, mask: np.ndarray | list[int], size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """An annotation with a run-length mask.

    Args:
        id: of the annotation.
        image: id of the image.
        category: id of the category.
        mask: bool (H, W), or its run lengths.
        size: H and W of run lengths.
    """
    from pycocotools import mask as rle

    if isinstance(mask, list):
        code = rle.frPyObjects({"counts": mask, "size": size}, *(size or ()))
    else:
        code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {
        "id": id,
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": list(size or np.shape(mask)), "counts": code["counts"].decode("ascii")},
        "area": int(rle.area(code)),
        "bbox": [float(v) for v in rle.toBbox(code)],
        "iscrowd": 0,
    }
