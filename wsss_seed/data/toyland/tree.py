"""Toyland on disk, in VOC layout.

OUT/JPEGImages/<id>.jpg                  quality 95, colours not subsampled
OUT/SegmentationClass/<id>.png           index PNG, 0 background, 1..12 class
OUT/SegmentationObject/<id>.png          index PNG, 0 background, 1..n object
OUT/ImageSets/Segmentation/<split>.txt   ids
OUT/image_labels.json, captions.json     id -> class names, id -> sentence
OUT/class_names.txt                      one name per line, background first
OUT/toyland.json                         the seed, the difficulty, and the number of images of each split
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError, unknown_name
from ...io.text import read_json
from ..classes import load_class_set
from ..voc_layout import IMAGES, LISTS, MASKS
from .dataset import Toyland
from .scene import SPLITS

MARKER = "toyland.json"


def write_tree(out: Path, split: str, images: int, seed: int, difficulty: str = "standard") -> None:
    """Write the first images of a toyland split as a VOC tree; ``--dataset voc --root OUT`` then reads it.

    Files are written atomically, the list last, so that an interrupted write leaves no split and can be repeated.
    Splits of one seed and difficulty share a tree. Label maps are exact; images have JPEG artefacts.

    Args:
        out: the folder; new, empty, or a toyland tree of the same seed and difficulty.
        split: ``train``, ``val`` or ``test``.
        images: number of images.
        seed: random seed of all scenes.
        difficulty: ``standard`` or ``hard``; see ``Toyland``.

    Raises:
        WsssError: the folder has other content, or another number of images of this split.
        OSError: a file cannot be written.
    """
    # Not at the top: reading datasets does not need the writers.
    from ...io.files import write_bytes, write_json, write_text
    from ...io.png import write_mask

    out = Path(out)
    if split not in SPLITS:
        raise unknown_name("split of toyland", split, SPLITS)
    class_set = load_class_set("toyland")
    world = Toyland(class_set, split, images, seed, difficulty=difficulty)
    splits = _splits(out, split, images, seed, difficulty)
    write_json(out / MARKER, {"seed": seed, "difficulty": difficulty, "splits": splits})
    labels, captions = {}, {}
    for sample in world:
        scene = world.scene(sample)
        write_bytes(out / IMAGES / f"{sample.id}.jpg", _jpeg(scene.image))
        write_mask(out / MASKS / f"{sample.id}.png", scene.labels, class_set.palette)
        write_mask(out / "SegmentationObject" / f"{sample.id}.png", scene.instances, class_set.palette)
        labels[sample.id] = [class_set.names[i] for i in scene.present]
        captions[sample.id] = scene.caption
    for name, new in (("image_labels.json", labels), ("captions.json", captions)):
        old = read_json(out / name) if (out / name).exists() else {}
        write_json(out / name, dict(sorted({**old, **new}.items())))
    write_text(out / "class_names.txt", "\n".join(("background", *class_set.names)) + "\n")
    write_text(out / LISTS / "Segmentation" / f"{split}.txt", "".join(f"{i}\n" for i in labels))


def _splits(out: Path, split: str, images: int, seed: int, difficulty: str) -> dict[str, int]:
    """The splits of the tree after writing. Raises WsssError if it must not be written."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {split: images}
    if not (out / MARKER).is_file():
        raise DataError(f"{out}: exists and is no toyland tree; choose a new or empty folder")
    table: Any = read_json(out / MARKER)
    splits = table.get("splits") if isinstance(table, dict) else None
    if not isinstance(splits, dict):
        raise DataError(f"{out / MARKER}: damaged; remove the folder and write it again")
    if table.get("seed") != seed:
        raise DataError(f"{out}: holds toyland of seed {table.get('seed')}, not {seed}; choose another folder")
    if table.get("difficulty", "standard") != difficulty:
        raise DataError(f"{out}: holds toyland of another difficulty than {difficulty}; choose another folder")
    finished = (out / LISTS / "Segmentation" / f"{split}.txt").exists()
    if finished and splits.get(split) != images:
        raise DataError(f"{out}: holds {splits.get(split)} images of {split}, not {images}; choose another folder")
    return {**splits, split: images}


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
