"""COCO instances and files of the same format."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, ImageError, unknown_name
from ..io.text import read_json
from .base import Boxes, Dataset, Sample
from .classes import IGNORE, ClassSet, class_set_of, load_class_set
from .ids import check_id, check_ids
from .labels import coco_image_labels
from .lazy import Texts
from .rle import Shape, checked_shape, checked_size, rasterised
from .samples import Files, FileSamples, LabelColumn, Labelled

_PREFIX = "instances_"
# COCO numbers its 80 categories 1..90 and leaves these out.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED)


class Coco(Dataset):
    """The images of a COCO instances file, in its order; ids are file names without suffix.

    Ground truth is rasterised: instances in descending area, so that smaller ones are on top, crowd regions as their
    class or, if ``ignore_crowds``, with the ignore label. Labels 1..80 follow the order of the category ids.
    Scores should state this rule, which ``mask_rule`` puts in words.

    Args:
        root: folder with annotations/instances_<split>.json, and the images in it, in images/, <split>/ or
            images/<split>/.
        class_set: the classes; by default COCO's 80, or the categories of the file by id if these differ. Categories
            outside the class set are background.
        split: the part between ``instances_`` and ``.json`` or an unambiguous prefix of it; by default the first that
            starts with ``train``, else the first.
        ignore_crowds: give crowd regions the ignore label instead of their class.

    Raises:
        WsssError: no such file, not COCO instances, or images that are missing or have invalid names.
    """

    name = "coco"

    def __init__(
        self, root: Path, class_set: ClassSet | None = None, split: str | None = None, ignore_crowds: bool = False
    ):
        self.split, self.path = _annotation_file(root, split)
        self.ignore_crowds = ignore_crowds
        table = read_json(self.path)
        if not isinstance(table, dict):
            raise DataError(f"{self.path}: not COCO instances (no JSON object)")
        self.class_set = class_set or _class_set(table, self.path)
        labels = list(coco_image_labels(table, self.class_set, str(self.path)))
        # Category id -> label; categories outside the class set are not in it.
        index = {c["id"]: self.class_set.find(c["name"]) for c in table["categories"]}
        self._label = {id: i + 1 for id, i in index.items() if i is not None}
        ids = [os.path.splitext(name)[0] for name, _ in labels]
        if not ids:
            raise DataError(f"{self.path}: no image")
        check_ids(ids, lambda i: f"{self.path}, image {table['images'][i]['id']}")
        images = _Images(root, self.split, self.path)
        files = Files(Path(), Texts(str(images.find(name)) for name, _ in labels))
        self.samples = Labelled(FileSamples(Texts(ids), files), LabelColumn(present for _, present in labels))
        self._images = dict(zip(ids, table["images"], strict=True))
        self._annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in table["annotations"]:
            if annotation["category_id"] in self._label:
                self._annotations[annotation["image_id"]].append(annotation)
        self._has_masks = any(a.get("segmentation") for a in table["annotations"])
        self.labels_source = str(self.path.resolve())

    @property
    def has_masks(self) -> bool:
        """Whether annotations have polygons or run-length masks rather than only boxes."""
        return self._has_masks

    @property
    def mask_rule(self) -> str:
        """How the ground truth is rasterised, to be recorded with scores."""
        crowds = "255" if self.ignore_crowds else "their class"
        return f"instances of {self.path.name} painted in descending area, crowds as {crowds}"

    def mask(self, sample: Sample) -> np.ndarray | None:
        """The rasterised label map, uint8 (H, W), in the size stated in the file.

        Raises:
            ImageError: the size of the image, or a polygon or run-length mask of it, is malformed.
        """
        if not self._has_masks:
            return None
        height, width = self._size(sample)
        regions = [
            (rasterised(shape, height, width).sum() if area is None else area, label, shape)
            for area, label, shape in self._regions(sample)
        ]
        out = np.zeros((height, width), np.uint8)
        for _, label, shape in sorted(regions, key=lambda r: -r[0]):
            out[rasterised(shape, height, width)] = label
        return out

    def check_mask(self, sample: Sample) -> tuple[int, int] | None:
        if not self._has_masks:
            return None
        self._regions(sample)  # nothing is rasterised
        return self._size(sample)

    def _size(self, sample: Sample) -> tuple[int, int]:
        image = self._images[sample.id]
        try:
            return checked_size(image["height"], image["width"])
        except (KeyError, ValueError) as e:
            raise ImageError(f"{self.path}: image {image['id']!r} has no usable size ({_why(e)}); correct it") from None

    def _regions(self, sample: Sample) -> list[tuple[float | None, int, Shape]]:
        """Area (if given), label and shape of each object that covers pixels."""
        height, width = self._size(sample)
        image = self._images[sample.id]["id"]
        regions = []
        for annotation in self._annotations[image]:
            try:
                shape = checked_shape(annotation.get("segmentation"), height, width)
                area = float(annotation["area"]) if "area" in annotation else None
                if area is not None and not math.isfinite(area):
                    raise ValueError(f"an area of {area}")
            except (ValueError, TypeError, LookupError, OverflowError) as e:
                why = f"{annotation['id']!r:.40}: {_why(e)}" if "id" in annotation else _why(e)
                raise ImageError(
                    f"{self.path}: image {image!r} has a malformed annotation ({why}); correct or remove it"
                ) from None
            if shape is not None:
                ignored = self.ignore_crowds and annotation.get("iscrowd")
                regions.append((area, IGNORE if ignored else self._label[annotation["category_id"]], shape))
        return regions

    def boxes(self, sample: Sample) -> Boxes:
        """The boxes of the objects of an image, without crowd regions.

        Raises:
            ImageError: a box is malformed.
        """
        image = self._images[sample.id]
        objects = [a for a in self._annotations[image["id"]] if not a.get("iscrowd")]
        try:
            xywh = np.array([a["bbox"] for a in objects], np.float32).reshape(len(objects), 4)
            if not np.isfinite(xywh).all():
                raise ValueError("a number that is not finite")
        except (KeyError, ValueError, TypeError, OverflowError) as e:
            raise ImageError(
                f"{self.path}: image {image['id']!r} has a malformed box ({_why(e)}); correct it"
            ) from None
        classes = [self._label[a["category_id"]] - 1 for a in objects]
        return Boxes(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1), np.array(classes, np.int64))


def _annotation_file(root: Path, split: str | None) -> tuple[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = [p for folder in (root, root / "annotations") for p in sorted(folder.glob(_PREFIX + "*.json"))]
    known = {p.stem.removeprefix(_PREFIX): p for p in files}
    if not known:
        raise DataError(f"{root}: no annotations/{_PREFIX}<split>.json")
    if split is None:
        split = next((s for s in sorted(known) if s.startswith("train")), min(known))
    if split not in known:
        longer = [s for s in known if s.startswith(split)]
        if len(longer) != 1:
            raise DataError(f"{root}: {unknown_name('split', split, known)}")
        split = longer[0]
    return split, known[split]


def _class_set(table: dict[str, Any], path: Path) -> ClassSet:
    """COCO's class set if the categories are among its 80, else a class set of the categories in order of id."""
    coco = load_class_set("coco")
    official = dict(zip(CATEGORY_IDS, coco.names, strict=True))
    try:
        categories = sorted((c["id"], str(c["name"])) for c in table["categories"])
    except (KeyError, TypeError) as e:
        raise DataError(f"{path}: not COCO instances ({type(e).__name__}: {e})") from None
    if all(official.get(id) == name for id, name in categories):
        return coco
    return class_set_of(path.stem, [(name, ()) for _, name in categories], str(path))


def _why(error: Exception) -> str:
    """The message of an error on one line; it may quote the file."""
    text = " ".join(str(error).split())[:200]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


class _Images:
    """Finds image files, listing each folder once, which is faster than testing 120,000 files."""

    def __init__(self, root: Path, split: str, path: Path):
        self.path = path
        self.folders = [f for f in (root / "images" / split, root / split, root / "images", root) if f.is_dir()]
        self.names: dict[Path, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        check_id(name, str(self.path))
        for folder in self.folders:
            file = folder / name
            if file.parent not in self.names:
                self.names[file.parent] = (
                    frozenset(os.listdir(file.parent)) if os.path.isdir(file.parent) else frozenset()
                )
            if file.name in self.names[file.parent]:
                return file
        looked = ", ".join(str(f) for f in self.folders)
        raise DataError(f"{self.path}: image {name} is missing (looked in {looked}); complete the images or the file")
