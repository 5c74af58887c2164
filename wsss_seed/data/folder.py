"""Folder trees of images."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from operator import lt
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError
from ..io.source import Source
from .base import Dataset, Sample
from .classes import ClassSet
from .ids import LONGEST, escaped, folded, id_fault
from .images import SUFFIXES
from .lazy import Index, Texts
from .listing import image_files, passed_over
from .samples import Files, FileSamples, Places


class Folder(Dataset):
    """All images below a folder, ordered by id; an id is the path below the folder without suffix.

    The folder may be behind a URL.

    A file whose name is not a valid id, or whose mask could overwrite another one, fails individually: ``image`` raises
    the reason, and its id is its name with suffix, escaped. Ids are unique on every file system.

    Raises:
        WsssError: no such folder, or no image in it.
    """

    name = "folder"
    split = "all"

    def __init__(self, root: Path | Source, class_set: ClassSet):
        try:
            is_folder = root.is_dir()
        except OSError as error:  # of a URL
            raise DataError(f"{root}: cannot be listed ({error.strerror or error})") from None
        if not is_folder:
            hint = "; for a list of images, give `list`" if root.suffix in (".csv", ".tsv", ".txt", ".parquet") else ""
            missing = "no such folder or bucket" if isinstance(root, Source) else "no such folder"
            raise DataError(f"{root}: {f'a file, not a folder{hint}' if root.exists() else missing}")
        self._root = root
        ids, files = Texts(), Texts()
        others: Counter[str] = Counter()
        for id, file in image_files(root, others):
            ids.append(id)
            files.append(file)
        if not ids:
            found = passed_over(others)
            raise DataError(
                f"{root}: no image below it{found and f' ({found})'}; known suffixes are {', '.join(SUFFIXES)}"
            )
        self.passed_over = passed_over(others)
        self.class_set = class_set
        renamed, self._faults = _unusable(root, ids, files)
        if renamed or not all(map(lt, ids, islice(ids, 1, None))):
            order = sorted(range(len(ids)), key=lambda i: renamed.get(i) or ids[i])
            ids, files = Texts(renamed.get(i) or ids[i] for i in order), Texts(files[i] for i in order)
        self.samples = FileSamples(ids, Places(root, files))

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
        pairs = [i for i, id in enumerate(self.ids) if id not in self._faults and (masks / f"{id}.png").is_file()]
        if not pairs:
            raise DataError(
                f"{masks}: no label map of the {len(self)} images in {root}; that of {self[0].id!r} is to be called "
                f"{self[0].id}.png"
            )
        if len(pairs) < len(self):
            self.passed_over = f"{len(self) - len(pairs)} of {len(self)} images in {root} have no label map in {masks}"
        ids = Texts(self.ids[i] for i in pairs)
        images = Texts(str(self[i].image) for i in pairs)
        self.samples = FileSamples(ids, Files(Path(), images), Files(masks, Texts(f"{id}.png" for id in ids)))


def _unusable(root: Path | Source, ids: Sequence[str], files: Sequence[str]) -> tuple[dict[int, str], dict[str, str]]:
    """The images under whose ids nothing may be written: position -> another id, and other id -> reason."""
    index = Index(ids, folded)
    alike = {i: group for group in index.repeated() for i in group}
    renamed: dict[int, str] = {}
    faults: dict[str, str] = {}
    taken: set[str] = set()
    for i, id in enumerate(ids):
        why = _fault(id)
        if why is None and i not in alike:
            continue
        other = name = escaped(files[i])
        number = 1
        while index.find(other) or folded(other) in taken:
            number += 1
            other = f"{name}~{number}"
        taken.add(folded(other))
        renamed[i] = other
        where = _shown(f"{root / files[i]}")
        twins = [files[j] for j in alike.get(i, ()) if j != i]
        faults[other] = f"{where}: {why or _same_name(files[i], twins)}; rename the image"
    return renamed, faults


def _fault(id: str) -> str | None:
    """Why nothing may be written under an id, whatever the others are; None if it is valid."""
    if fault := id_fault(id):
        return f"image id {id!a} {fault}"
    if len(id) > LONGEST // 4 and any(len(part.encode()) > LONGEST for part in id.split("/")):
        return f"a name of more than {LONGEST} bytes is too long with its suffix"
    return None


def _same_name(file: str, twins: Sequence[str]) -> str:
    """That the ids of other files are equal to that of this one on some file systems."""
    same = unicodedata.normalize("NFC", file) == unicodedata.normalize("NFC", twins[0])
    other = ascii(twins[0]) if same else _shown(twins[0])
    more = f" (and {len(twins) - 1} more)" if len(twins) > 1 else ""
    return (
        f"{other}{more} has the same name except for suffix, case or Unicode normalization, so that one mask could "
        "overwrite the other"
    )


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)
