"""Image-level labels, in the file formats in use for weakly supervised segmentation.

``cls_labels.npy``
    a pickled dict, id -> 0/1 vector of K values, or of K + 1 with background first; ids are text or numbers (2010005582
    is 2010_005582, 9 is 000000000009)
text list (``.txt``)
    one line per image: ``id 3 14``, ``id cat, traffic light``; an id followed by a tab may contain spaces
CSV (``.csv``, ``.tsv``)
    with header ``image,label``: names or indices separated by ``;`` or ``|``, or one per row; or with header ``image``
    and class names: one column of 0/1 per class
JSON
    ``{"id": ["cat", 14]}``, or COCO instances
folder
    of VOC annotations, ``<id>.xml``

Indices count foreground classes from 0. A name is the name of a class or one of its phrases, ignoring case. An id may
have a suffix, and the folder of the images in front of it (``photos/a.jpg`` for ``a.jpg`` in the folder ``photos``, but
not ``b/a.jpg``); VOC and COCO images are recognized by their numbers in any folder. Files that list each object of an
image (COCO, VOC) may contain classes outside the class set, which are skipped; an unknown name anywhere else is an
error.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import DataError, WsssError, unknown_name
from ..io.source import Source
from ..io.text import read_json, read_lines, read_text
from .classes import BACKGROUND_NAMES, ClassSet
from .images import SUFFIXES
from .npy import read_npy

Labels = dict[str, tuple[int, ...]]

# Files that `auto` searches for, in this order; then annotations/instances_*.json, then Annotations/*.xml.
AUTO_FILES = ("cls_labels.npy", "cls_labels.txt", "image_labels.json", "labels.csv", "labels.txt")

_IMAGE_COLUMNS = ("image", "id", "image_id", "file", "filename", "file_name", "path", "name", "img")
LABEL_COLUMNS = ("label", "labels", "class", "classes", "category", "categories")


def read_image_labels(
    path: Path | Source,
    ids: Sequence[str],
    class_set: ClassSet,
    *,
    folder: str = "",
    unmatched: list[str] | None = None,
) -> Labels:
    """Read the image-level labels of a dataset from a file, or a folder of VOC annotations.

    Args:
        path: a file in one of the formats above.
        ids: ids of the dataset; entries of other images are checked and skipped.
        class_set: the classes that names and indices refer to.
        folder: name of the folder of the images, with which entries may begin.
        unmatched: receives the entries that name no image of the dataset.

    Returns:
        id -> foreground indices, ascending; without ids that are not in the file.

    Raises:
        WsssError: unreadable, an unknown format, or an entry with an unknown class, an index out of range or a vector
            of the wrong length; the message names file and entry.
    """
    try:
        if isinstance(path, Path) and path.is_dir():
            return _read_xml(path, ids, class_set)
        exists = path.exists()
    except OSError as error:  # of a URL
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not exists:
        raise DataError(f"{path}: no such label file; give `labels` an existing one, or none")
    readers = {".npy": _read_npy, ".json": _read_json, ".csv": _read_csv, ".tsv": _read_csv, ".txt": _read_list}
    reader = readers.get(path.suffix.casefold())
    if reader is None:
        raise DataError(f"{path}: {unknown_name('format of label file', path.suffix, readers)}")
    return _match(reader(path, class_set), ids, folder, [] if unmatched is None else unmatched)


def find_image_labels(
    folders: Iterable[Path | Source],
    ids: Sequence[str],
    class_set: ClassSet,
    *,
    folder: str = "",
    unmatched: list[str] | None = None,
) -> tuple[Labels, Path | Source | None]:
    """Search dataset folders for image-level labels: the first source that contains one of the images.

    Args:
        folders: the folders to search.
        ids, class_set, folder, unmatched: see ``read_image_labels``.

    Returns:
        Labels as from ``read_image_labels`` and their source; empty and None if there are none.

    Raises:
        WsssError: a source does not match the class set.
    """
    for place in folders:
        for path in _candidates(place):
            try:
                others: list[str] = []
                labels = read_image_labels(path, ids, class_set, folder=folder, unmatched=others)
            except WsssError as e:
                raise DataError(f"{e} (found in the dataset folder; `labels` none or FILE skips it)") from None
            if labels:
                if unmatched is not None:
                    unmatched += others
                return labels, path
    return {}, None


def outside_split(
    entries: Sequence[str], outside: Collection[str], *, folder: str = "", published: bool = False
) -> list[bool]:
    """For each entry of a label file, whether it is of an image outside the split of a dataset rather than of none.

    Args:
        entries: entries that name no image of the split.
        outside: ids of the images outside the split, as far as they are known.
        folder: see ``read_image_labels``.
        published: whether names in the form of VOC's and COCO's images are taken to be of these, of which a folder may
            have only a part.
    """
    unknown: list[str] = []
    _match(dict.fromkeys(entries, ()), list(outside), folder, unknown)
    strange = {entry for entry in unknown if not (published and _numbered(_names(entry, folder)[0]))}
    return [entry not in strange for entry in entries]


def _candidates(folder: Path | Source) -> Iterator[Path | Source]:
    """What there is of the files of labels, behind a URL only those of fixed names."""
    if isinstance(folder, Source):
        try:
            found = {name for name, is_folder in folder.list() if not is_folder}
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({error.strerror or error})") from None
        yield from (folder / name for name in AUTO_FILES if name in found)
        return
    files = [folder / name for name in AUTO_FILES] + sorted((folder / "annotations").glob("instances_*.json"))
    yield from (path for path in files if path.is_file())
    if (folder / "Annotations").is_dir():
        yield folder / "Annotations"


# ---- matching entries to images


_SHORT = re.compile("[0-9]{1,12}")
_VOC_OR_COCO = re.compile(r"(?:^|[/_])(?:(\d{4})_(\d{6})|(\d{12}))$")


def _number(name: str) -> int | None:
    """The number in the names of VOC (2010_005582) and COCO (..._000000000009) images."""
    m = _VOC_OR_COCO.search(name)
    return int("".join(filter(None, m.groups()))) if m else None


def _numbered(name: str) -> bool:
    """Whether a name is that of a VOC or COCO image, or its number."""
    return _SHORT.fullmatch(name) is not None or _number(name) is not None


def _match(entries: Labels, ids: Sequence[str], folder: str, unmatched: list[str]) -> Labels:
    """Match entries to ids: by name, else without suffix and the folder of the images, else by number."""
    found = {id: entries[id] for id in ids if id in entries}
    missing = {id for id in ids if id not in found}
    numbers: dict[int | None, list[str]] = {}
    for id in missing:
        if (n := _number(id)) is not None:
            numbers.setdefault(n, []).append(id)
    for entry, labels in entries.items():
        if entry in found:
            continue
        names = _names(entry, folder)
        name = next((name for name in names if name in found or name in missing), "")
        if not name:
            same = numbers.get(int(names[0]) if _SHORT.fullmatch(names[0]) else _number(names[0]), [])
            name = same[0] if len(same) == 1 else ""
        if name:
            found.setdefault(name, labels)
        else:
            unmatched.append(entry)
    return found


def _names(entry: str, folder: str) -> list[str]:
    """The ids that an entry can mean: without suffix, then without what precedes the images in their folder, as in
    ``/x/photos/a.jpg``."""
    name, suffix = os.path.splitext(entry.removeprefix("./"))
    if suffix.casefold() not in SUFFIXES:
        name += suffix
    parts = name.split("/")
    return [name, *("/".join(parts[i:]) for i in range(1, len(parts)) if parts[i - 1] == folder)]


# ---- matching names and indices to classes


_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")


def _index(word: Any, class_set: ClassSet, where: str) -> int | None:
    """The foreground index of a name or an index; None for background."""
    count = len(class_set.names)
    if isinstance(word, str):
        index = class_set.find(word)
        if index is not None:
            return index
        if word.strip().casefold() in BACKGROUND_NAMES:
            return None
        if not _INTEGER.fullmatch(word):
            raise DataError(f"{where}: {unknown_name('class', word.strip(), class_set.names)}")
        if len(word) > 1000:  # Python refuses numbers of more than 4300 digits
            raise DataError(f"{where}: a class index of {len(word.strip())} digits is out of range")
        word = int(word)
    if isinstance(word, bool) or not isinstance(word, int):
        raise DataError(f"{where}: {word!r} is neither a class name nor an index")
    if not 0 <= word < count:
        raise DataError(f"{where}: class index {word} is out of range; {count} classes have the indices 0..{count - 1}")
    return word


def _indices(words: Iterable[Any], class_set: ClassSet, where: str) -> tuple[int, ...]:
    return tuple(sorted({i for w in words if (i := _index(w, class_set, where)) is not None}))


def label_indices(value: Any, class_set: ClassSet, where: str) -> tuple[int, ...]:
    """Foreground indices, ascending, of names or indices: one, a list of them, or a text as in a label file.

    Raises:
        WsssError: an unknown class or an index out of range; ``where`` names the place.
    """
    if isinstance(value, str):
        return _indices(_words(value.strip(), class_set), class_set, where)
    return _indices(value if isinstance(value, list) else [value], class_set, where)


def _words(text: str, class_set: ClassSet) -> list[str]:
    """Names or indices in a text, separated by ``;``, ``|`` or ``,``, else by white space."""
    if re.search("[;|,]", text):
        return [w for w in re.split("[;|,]", text) if w.strip()]
    return [text] if class_set.find(text) is not None else text.split()


# ---- file formats


def _read_npy(path: Path | Source, class_set: ClassSet) -> Labels:
    table = read_npy(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: contains a {type(table).__name__}; expected a dict of image id -> 0/1 vector")
    count = len(class_set.names)
    entries: Labels = {}
    for key, value in table.items():
        number = isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < 10**12
        if not number and not isinstance(key, str):
            raise DataError(f"{path}: an image id must be text, or a number of at most 12 digits")
        where = f"{path}: entry {key!r}"
        try:
            vector = np.asarray(value)
        except (ValueError, OverflowError, RecursionError):
            raise DataError(f"{where}: not a vector") from None
        if vector.shape not in ((count,), (count + 1,)) or vector.dtype.kind not in "fiub":
            raise DataError(
                f"{where}: shape {vector.shape} of {vector.dtype}; {count} classes need {count} numbers, "
                f"or {count + 1} with background first"
            )
        if not ((vector == 0) | (vector == 1)).all():
            raise DataError(f"{where}: contains values other than 0 and 1")
        entries[str(key)] = tuple(np.flatnonzero(vector[-count:]).tolist())
    return entries


def _read_list(path: Path | Source, class_set: ClassSet) -> Labels:
    suffixed = re.compile(rf"(\S.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?:\s+(.*))?", re.IGNORECASE)
    entries: Labels = {}
    known: Labels = {}  # most lines of a long list have labels seen before
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        if "\t" in line:
            name, _, rest = line.partition("\t")
        elif m := suffixed.fullmatch(line):
            name, rest = m[1], m[2] or ""
        else:
            name, _, rest = line.partition(" ")
        labels = known.get(rest)
        if labels is None:
            labels = known[rest] = _indices(_words(rest.strip(), class_set), class_set, where)
        if entries.setdefault(name.strip(), labels) != labels:
            raise DataError(f"{where}: duplicate id {name.strip()!r} with different classes")
    return entries


def _read_csv(path: Path | Source, class_set: ClassSet) -> Labels:
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",", "\t", ";", key=header.count)
    try:
        rows = list(csv.reader(text.split("\n"), delimiter=delimiter, strict=True))
    except csv.Error as e:
        raise DataError(f"{path}: not valid CSV ({e})") from None
    titles = [t.strip() for t in rows[0]]
    lower = [t.casefold() for t in titles]
    image = next((lower.index(t) for t in _IMAGE_COLUMNS if t in lower), None)
    if image is None:
        raise DataError(f"{path}: no header line with a column 'image'; write image,label above the first row")
    label = next((lower.index(t) for t in LABEL_COLUMNS if t in lower), None)
    columns = {}
    if label is None:
        columns = {i: _index(t, class_set, f"{path}, header") for i, t in enumerate(titles) if i != image}
    entries: Labels = {}
    for number, row in enumerate(rows[1:], 2):
        where = f"{path}, line {number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(titles):
            raise DataError(f"{where}: {len(row)} cells under {len(titles)} columns")
        if label is not None:
            labels = _indices(_words(row[label].strip(), class_set), class_set, where)
        else:
            labels = tuple(c for i, c in columns.items() if _flag(row[i], where) and c is not None)
        entries[row[image].strip()] = tuple(sorted({*entries.get(row[image].strip(), ()), *labels}))
    return entries


def _flag(cell: str, where: str) -> bool:
    try:
        return {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}[
            cell.strip().casefold()
        ]
    except KeyError:
        raise DataError(f"{where}: {cell!r} in the column of a class; expected 0 or 1") from None


def _read_json(path: Path | Source, class_set: ClassSet) -> Labels:
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f'{path}: does not contain a JSON object; expected {{"id": ["name", ...]}} or COCO instances')
    if isinstance(table.get("images"), list) and isinstance(table.get("annotations"), list):
        return dict(coco_image_labels(table, class_set, str(path)))
    entries: Labels = {}
    for id, words in table.items():
        words = words if isinstance(words, list) else [words]
        entries[id] = _indices(words, class_set, f"{path}: entry {id!r}")
    return entries


def coco_image_labels(
    table: Mapping[str, Any], class_set: ClassSet, where: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Image-level labels of COCO instances: (file name, foreground indices) for each image, in order.

    Crowd regions are included, categories outside the class set are not.

    Raises:
        WsssError: not COCO instances, or no category is in the class set; ``where`` names the file.
    """
    try:
        index = {c["id"]: class_set.find(c["name"]) for c in table["categories"]}
        present: dict[Any, set[int]] = {image["id"]: set() for image in table["images"]}
        for annotation in table["annotations"]:
            i = index[annotation["category_id"]]
            if i is not None:
                present[annotation["image_id"]].add(i)
        names = [(image["id"], str(image["file_name"])) for image in table["images"]]
    except (KeyError, TypeError, AttributeError, RecursionError) as e:
        raise DataError(f"{where}: not COCO instances ({type(e).__name__}: {e})") from None
    if index and all(i is None for i in index.values()):
        shown = ", ".join(c["name"] for c in table["categories"][:5])
        raise DataError(f"{where}: none of its categories ({shown}, ...) is in class set '{class_set.name}'")
    return ((name, tuple(sorted(present[id]))) for id, name in names)


def _read_xml(folder: Path, ids: Sequence[str], class_set: ClassSet) -> Labels:
    entries: Labels = {}
    strange: set[str] = set()
    for id in ids:
        try:
            names = [name for name, _ in read_voc_objects(folder / f"{id}.xml")]
        except FileNotFoundError:
            continue
        found = [class_set.find(n) for n in names]
        strange.update(n for n, i in zip(names, found, strict=True) if i is None)
        entries[id] = tuple(sorted({i for i in found if i is not None}))
    if strange and not any(entries.values()):
        shown = ", ".join(sorted(strange)[:5])
        raise DataError(f"{folder}: none of the objects ({shown}) is in class set '{class_set.name}'")
    return entries


def read_voc_objects(path: Path) -> list[tuple[str, tuple[float, float, float, float] | None]]:
    """The objects of a VOC annotation: class name, and x0 y0 x1 y1 in pixels (1-based and inclusive in the file).

    Raises:
        FileNotFoundError: there is no such file.
        WsssError: not a VOC annotation.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
        objects = []
        for element in root.iterfind("object"):
            name = (element.findtext("name") or "").strip()
            if not name:
                raise ValueError("an object without name")
            box = element.find("bndbox")
            corners = None
            if box is not None:
                x0, y0, x1, y1 = (float(box.findtext(k) or "nan") for k in ("xmin", "ymin", "xmax", "ymax"))
                if not (-math.inf < x0 <= x1 < math.inf and -math.inf < y0 <= y1 < math.inf):
                    raise ValueError(f"the box of {name!r} is empty, incomplete or infinite")
                corners = (x0 - 1, y0 - 1, x1, y1)
            objects.append((name, corners))
        return objects
    except FileNotFoundError:
        raise
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None
    except (ElementTree.ParseError, ValueError, LookupError) as e:
        raise DataError(f"{path}: not a VOC annotation ({e})") from None
