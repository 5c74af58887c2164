"""Folder trees of images."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError
from .base import Dataset, Sample
from .classes import ClassSet
from .ids import LONGEST, escaped, folded, id_fault
from .images import SUFFIXES
from .listing import image_files, passed_over


class Folder(Dataset):
    """All images below a folder, ordered by id; an id is the path below the folder without suffix.

    A file whose name is not a valid id, or whose mask could overwrite another one, fails individually: ``image`` raises
    the reason, and its id is its name with suffix, escaped. Ids are unique on every file system.

    Raises:
        WsssError: no such folder, or no image in it.
    """

    name = "folder"
    split = "all"

    def __init__(self, root: Path, class_set: ClassSet):
        if not root.is_dir():
            raise DataError(f"{root}: {'a file, not a folder' if root.exists() else 'no such folder'}")
        self._root = root
        files: dict[str, list[tuple[str, str]]] = {}
        others: Counter[str] = Counter()
        for id, file in image_files(root, others):
            files.setdefault(folded(id), []).append((id, file))
        if not files:
            found = passed_over(others)
            raise DataError(
                f"{root}: no image below it{found and f' ({found})'}; known suffixes are {', '.join(SUFFIXES)}"
            )
        self.passed_over = passed_over(others)
        self.class_set = class_set
        self._faults: dict[str, str] = {}
        samples, unusable = [], []
        for alike in files.values():
            for id, file in alike:
                if fault := _fault(root, id, file, [other for _, other in alike if other != file]):
                    unusable.append((file, fault))
                else:
                    samples.append(Sample(id, root / file))
        taken = set(files)
        for file, fault in unusable:
            id = name = escaped(file)
            number = 1
            while folded(id) in taken:
                number += 1
                id = f"{name}~{number}"
            taken.add(folded(id))
            self._faults[id] = fault
            samples.append(Sample(id, root / file))
        self.samples = sorted(samples, key=lambda sample: sample.id)

    @property
    def title(self) -> str:
        """The folder as the user named it; it has no splits."""
        return f"folder {_shown(self._root.name or str(self._root))}"

    def image(self, sample: Sample) -> np.ndarray:
        if fault := self._faults.get(sample.id):
            raise ImageError(fault)
        return super().image(sample)


class ImagesAndMasks(Folder):
    """The images below a folder that have a label map, ``<id>.png``, below another one.

    Images without a label map are left out; ``passed_over`` counts them.

    Args:
        root: folder of the images.
        masks: folder of the label maps, which match the stored pixels.
        class_set: the classes.

    Raises:
        DataError: no such folder, or no image with a label map.
    """

    def __init__(self, root: Path, masks: Path, class_set: ClassSet):
        super().__init__(root, class_set)
        if not masks.is_dir():
            raise DataError(f"{masks}: no such folder")
        named = [(sample, masks / f"{sample.id}.png") for sample in self.samples if sample.id not in self._faults]
        pairs = [replace(sample, mask=mask) for sample, mask in named if mask.is_file()]
        if not pairs:
            raise DataError(
                f"{masks}: no label map of the {len(self)} images in {root}; that of {self[0].id!r} is to be called "
                f"{self[0].id}.png"
            )
        if len(pairs) < len(self):
            self.passed_over = f"{len(self) - len(pairs)} of {len(self)} images in {root} have no label map in {masks}"
        self.samples = pairs


def _fault(root: Path, id: str, file: str, alike: list[str]) -> str | None:
    """Why nothing may be written under an id, or None; ``alike`` are files whose ids are equal on some file systems."""
    where = _shown(str(root / file))
    if fault := id_fault(id):
        return f"{where}: image id {id!a} {fault}; rename the image"
    if any(len(part.encode()) > LONGEST for part in id.split("/")):
        return f"{where}: a name of more than {LONGEST} bytes is too long with its suffix; rename the image"
    if alike:
        same = unicodedata.normalize("NFC", file) == unicodedata.normalize("NFC", alike[0])
        other = ascii(alike[0]) if same else _shown(alike[0])
        more = f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""
        return (
            f"{where}: {other}{more} has the same name except for suffix, case or Unicode normalization, so that one "
            "mask could overwrite the other; rename the image"
        )
    return None


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)
