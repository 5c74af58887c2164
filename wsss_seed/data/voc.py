"""PASCAL VOC 2012 and other trees with its layout, such as run folders and toyland trees."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError, unknown_name
from ..io.text import read_lines
from .base import Boxes, Dataset, Sample
from .classes import ClassSet, load_class_set
from .corrections import Corrections
from .ids import check_id, check_ids
from .images import SUFFIXES, read_labels
from .labels import read_voc_objects
from .lazy import Texts
from .listing import Listing, image_files
from .samples import Files, FileSamples
from .voc_layout import CLASSES, IMAGES, LISTS, MASKS, Layout, file_name, id_of, layout_of

# Both spellings of the augmented list are common.
_SPELLINGS = {"train_aug": "trainaug", "trainaug": "train_aug"}
_PAIR = re.compile(rf"(\S+(?:{'|'.join(map(re.escape, SUFFIXES))}))(?:\s+(\S+))?", re.IGNORECASE)


def voc_root(root: Path) -> Path:
    """The folder that holds JPEGImages: the given one, or VOC2012 or VOCdevkit/VOC2012 in it.

    Raises:
        WsssError: none of them does.
    """
    for inner in (".", "VOC2012", "VOCdevkit/VOC2012"):
        if (root / inner / IMAGES).is_dir():
            return root / inner
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    raise DataError(f"{root}: not in VOC layout; it has no folder JPEGImages, VOC2012 or VOCdevkit/VOC2012")


def voc_class_set(root: Path) -> ClassSet:
    """The classes of a VOC tree: those of its class_names.txt or classes.txt, else VOC's."""
    for name in ("class_names.txt", CLASSES):
        if (root / name).is_file():
            return load_class_set(root / name)
    return load_class_set("voc")


class Voc(Dataset):
    """A split of a VOC tree.

    The split is a list in ImageSets/Segmentation whose lines are ids, or ``JPEGImages/x.jpg SegmentationClass/x.png``.
    Without a list, train_aug is all of SegmentationClassAug except the images of val. Ground truth comes from
    SegmentationClass, for train_aug from SegmentationClassAug if it has the image.

    Run folders are trees of this layout, too; in those whose files are nested, lines are names of files, not ids.

    Args:
        root: the folder with JPEGImages.
        class_set: the classes of its label maps.
        split: name of the list; by default ``train``, or the only list there is.
        corrected: of a run folder, use the corrected masks, and leave out rejected images.

    Attributes:
        corrections: the corrections that apply; None to read the masks as they were generated.

    Raises:
        WsssError: damaged corrections, no such list, an empty list, or a line that is not a valid id, repeats one, or
            names an image that is missing or ambiguous.
    """

    name = "voc"

    def __init__(self, root: Path, class_set: ClassSet, split: str | None = None, *, corrected: bool = True):
        self.root, self.class_set, self.layout = root, class_set, layout_of(root)
        lists = {p.stem: p for p in sorted((root / LISTS / "Segmentation").glob("*.txt"))}
        aug = root / "SegmentationClassAug"
        known = {**lists, **({"train_aug": aug} if "trainaug" not in lists and aug.is_dir() else {})}
        self.split = split or _default_split(root, known)
        if self.split not in known and _SPELLINGS.get(self.split) in known:
            self.split = _SPELLINGS[self.split]
        if self.split not in known:
            raise DataError(f"{root}: {unknown_name('split', self.split, known)}")
        images = Listing(root / IMAGES)
        if self.split in lists:
            rows = _read_list(lists[self.split], images, self.layout)
        else:
            val = set(_read_list(lists["val"], images, self.layout).ids) if "val" in lists else set()
            rows = _Rows(aug)
            for id, file in sorted(Listing(aug)):
                if (image := images.file(id)) and id not in val:
                    rows.append(id, image, "", file)
        if not rows.ids:
            raise DataError(f"{lists.get(self.split, aug)}: no image")
        check_ids(rows.ids, rows.where)
        self.corrections = Corrections(root) if corrected else None
        if self.corrections is not None and self.corrections.rejected:
            rows = rows.without(self.corrections.rejected)
            if not rows.ids:
                raise DataError(f"{root}: all images of {self.split} were rejected in review")
        folders = [MASKS]
        if self.split in _SPELLINGS:
            folders.insert(0, "SegmentationClassAug")
        known_masks = [(f, Listing(root / f)) for f in folders if (root / f).is_dir()]
        masks = Texts(
            (self.corrections and self.corrections.name(rows.ids[i])) or _mask(root, rows, i, known_masks, self.layout)
            for i in range(len(rows.ids))
        )
        self.samples = FileSamples(rows.ids, Files(root / IMAGES, rows.images), Files(root, masks))

    @property
    def remarks(self) -> list[str]:
        return [*super().remarks, *(self.corrections.remarks if self.corrections is not None else ())]

    @property
    def outside(self) -> Collection[str]:
        # Listed again, because only a label file with other entries asks for it.
        return {id_of(name, self.layout) for name, _ in image_files(self.root / IMAGES)}.difference(self.ids)

    def boxes(self, sample: Sample) -> Boxes | None:
        """The boxes of Annotations/<id>.xml, else those of the instances in SegmentationObject.

        Raises:
            WsssError: the annotation is damaged or its instances and classes differ in size.
        """
        try:
            objects = read_voc_objects(self.root / "Annotations" / f"{sample.id}.xml")
        except FileNotFoundError:
            path = self.root / "SegmentationObject" / f"{sample.id}.png"
            labels = self.mask(sample) if path.is_file() else None
            return None if labels is None else _instance_boxes(read_labels(path), labels, path)
        found = [(corners, i) for name, corners in objects if corners and (i := self.class_set.find(name)) is not None]
        return Boxes(
            np.array([c for c, _ in found], np.float32).reshape(-1, 4), np.array([i for _, i in found], np.int64)
        )


def _default_split(root: Path, known: Mapping[str, Path]) -> str:
    if "train" in known or len(known) == 1:
        return "train" if "train" in known else next(iter(known))
    if known:
        raise DataError(f"{root}: name a split; there are {', '.join(sorted(known))}")
    raise DataError(f"{root}: no list of images; ImageSets/Segmentation has no .txt file")


class _Rows:
    """Rows of a list: id, image below JPEGImages, label map below the root or empty, and its place for messages."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.ids, self.images, self.masks, self._places = Texts(), Texts(), Texts(), Texts()

    def append(self, id: str, image: str, mask: str, place: str) -> None:
        """Add a row."""
        self.ids.append(id)
        self.images.append(image)
        self.masks.append(mask)
        self._places.append(place)

    def without(self, ids: Collection[str]) -> _Rows:
        """The rows of other images."""
        rest = _Rows(self.source)
        for row in zip(self.ids, self.images, self.masks, self._places, strict=True):
            if row[0] not in ids:
                rest.append(*row)
        return rest

    def where(self, i: int) -> str:
        """The source of a row for messages."""
        return f"{self.source}, {self._places[i]}"


def _read_list(path: Path, images: Listing, layout: Layout) -> _Rows:
    rows = _Rows(path)
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        id, mask, image = id_of(line, layout), "", images.file(line)
        if image is None and (pair := _PAIR.fullmatch(line)):
            file = pair[1].removeprefix("/").removeprefix("JPEGImages/")
            id, mask = file[: file.rindex(".")], (pair[2] or "").removeprefix("/")
            image = images.file(id)
        check_id(id, where)
        if image is None:
            raise DataError(f"{where}: missing image JPEGImages/{id}.jpg (or another suffix); complete tree or list")
        rows.append(id, image, mask, f"line {number}")
    return rows


def _mask(root: Path, rows: _Rows, i: int, folders: Sequence[tuple[str, Listing]], layout: Layout) -> str:
    """The path of the label map of a row, below ``root``; empty if there is none."""
    listed = rows.masks[i]
    if not listed:
        file = file_name(rows.ids[i], layout)
        found = ((name, folder.file(file)) for name, folder in folders)
        return next((f"{name}/{path}" for name, path in found if path), "")
    path = root / check_id(listed, rows.where(i))
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise DataError(f"{rows.where(i)}: no such label map {path}")
    return listed


def _instance_boxes(instances: np.ndarray, labels: np.ndarray, path: Path) -> Boxes:
    """Boxes of the instances of a map (0 background, 255 outline), each with the majority class of its pixels."""
    if instances.shape != labels.shape:
        raise DataError(f"{path}: size {instances.shape[::-1]} differs from the label map's {labels.shape[::-1]}")
    corners, classes = [], []
    for value in np.unique(instances[(instances != 0) & (instances != 255)]):
        inside = instances == value
        votes = np.bincount(labels[inside], minlength=256)
        votes[[0, 255]] = 0
        if votes.any():
            y, x = np.nonzero(inside)
            corners.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
            classes.append(int(votes.argmax()) - 1)
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64))
