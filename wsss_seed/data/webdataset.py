"""WebDataset tars, read where they are.

By the conventions of the webdataset library, the members of a sample follow one another and share a key, the path
before the first dot of the file name; what follows is the kind of the member: ``n01/000017.jpg``, ``n01/000017.cls``.
The image is the first that has the suffix of an image, in the order of ``SUFFIXES``. Image-level labels are names or
indices in ``.cls``, or the entry ``labels``, ``label`` or ``cls`` of an object in ``.json``.

The library itself reads tars in sequence, for training; runs need the images of a shard in any order, to resume and to
divide them. So each tar is passed through once (by Python's tarfile, which skips the images; a tar behind a URL is
downloaded for that, but not kept), and an index of offsets is held.
"""

from __future__ import annotations

import json
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError, one_line
from ..io.source import Source, is_url, location, redacted
from .base import Dataset
from .classes import ClassSet
from .ids import check_ids
from .images import SUFFIXES
from .labels import LABEL_COLUMNS, label_indices
from .lazy import Lazy, Texts
from .samples import FileSamples, LabelColumn, Labelled

_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")  # key and kind, as in webdataset.tariterators
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_KINDS = tuple(suffix[1:] for suffix in SUFFIXES)
_NAMED = 5  # samples without an image that are named


def shards(pattern: str | Path) -> list[Path | Source]:
    """The tars of a pattern, in order: a tar, a folder with tars, ``shard-{000..012}.tar``, ``{train,val}-0.tar``.

    Raises:
        DataError: no such file or folder, or a folder without a tar.
    """
    text = str(pattern)
    if is_url(text) or not Path(text).is_dir():
        found = [location(name) for name in _expanded(text)]
        for place in found:
            if isinstance(place, Path) and not place.is_file():
                raise DataError(f"{place}: no such file; give `root` a tar, a folder of tars or shard-{{000..012}}.tar")
        return found
    inside: list[Path | Source] = [*sorted(Path(text).glob("*.tar"))]
    if not inside:
        raise DataError(f"{text}: no .tar in this folder")
    return inside


def _expanded(text: str) -> list[str]:
    """A pattern with braces as names, by the rules of shells: numbers keep their leading zeros."""
    braces = _BRACES.search(text)
    if braces is None:
        return [text]
    if numbers := _RANGE.fullmatch(braces[1]):
        first, last = int(numbers[1]), int(numbers[2])
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        parts = [f"{i:0{width}}" for i in range(first, last + 1)]
    else:
        parts = braces[1].split(",")
    return [name for part in parts for name in _expanded(text[: braces.start()] + part + text[braces.end() :])]


class WebDataset(Dataset):
    """The images of WebDataset tars, in their order; an id is the key of its sample.

    Samples without an image are left out; ``passed_over`` counts and names them.

    Args:
        pattern: see ``shards``.
        class_set: the classes.

    Raises:
        WsssError: a missing or damaged tar, no image, a key that is not a valid id or repeated, or an unknown label.
    """

    name = "webdataset"
    split = "all"

    def __init__(self, pattern: str | Path, class_set: ClassSet) -> None:
        self.class_set = class_set
        self._shards = shards(pattern)
        ids, members, labels = Texts(), _Members(self._shards), LabelColumn()
        missing, named = 0, list[str]()
        labelled = False
        for number, shard in enumerate(self._shards):
            for key, parts, value in _samples(shard):
                image = next((parts[kind] for kind in _KINDS if kind in parts), None)
                if image is None:
                    missing += 1
                    if missing <= _NAMED:
                        named.append(f"{shard}/{key}")
                    continue
                ids.append(key)
                members.append(number, *image)
                labelled |= value is not None
                where = f"{shard}/{key}"
                labels.append(None if value is None else label_indices(value, class_set, where))
        if missing:
            shown = ", ".join(named) + ", ..." * (missing > _NAMED)
            self.passed_over = f"{missing} sample{'s' * (missing > 1)} without an image ({shown})"
        if not ids:
            raise DataError(f"{self.passed_over or redacted(str(pattern))}: no image in {len(self._shards)} tars")
        check_ids(ids, lambda i: str(members[i]))
        self.samples = FileSamples(ids, members)
        if labelled:
            self.samples = Labelled(self.samples, labels)
            self.labels_source = f"{self._shards[0]}" + f" and {len(self._shards) - 1} more" * (len(self._shards) > 1)

    @property
    def title(self) -> str:
        """Number of shards, and the name of the first."""
        several = f" and {len(self._shards) - 1} more" if len(self._shards) > 1 else ""
        return f"webdataset {self._shards[0].name}{several}"


class _Members(Lazy[Source]):
    """Members of tars."""

    def __init__(self, shards: Sequence[Path | Source]) -> None:
        self._places = [shard.place if isinstance(shard, Source) else str(shard) for shard in shards]
        self._names, self._shards, self._starts, self._sizes = Texts(), array("i"), array("q"), array("q")

    def append(self, shard: int, name: str, start: int, size: int) -> None:
        self._names.append(name)
        self._shards.append(shard)
        self._starts.append(start)
        self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._names)

    def at(self, i: int) -> Source:
        return Source(self._places[self._shards[i]], self._names[i], self._starts[i], self._sizes[i])


_Part = tuple[str, int, int]
"""Name, offset and size of a member."""


def _samples(shard: Path | Source) -> Iterator[tuple[str, dict[str, _Part], Any]]:
    """Key, members by kind, and labels or None, of each sample of a tar."""
    key, parts, labels = "", dict[str, _Part](), None
    for name, kind, part, content in _parts(shard):
        if name != key:
            if parts:
                yield key, parts, labels
            key, parts, labels = name, {}, None
        parts[kind] = part
        if content is not None:
            found = _labels(kind, content, f"{shard}/{part[0]}")
            labels = found if labels is None else labels
    if parts:
        yield key, parts, labels


def _parts(shard: Path | Source) -> Iterator[tuple[str, str, _Part, bytes | None]]:
    """Key, kind, place and, of labels, content of each member of a tar."""
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                name = member.name.removeprefix("./")
                match = _MEMBER.fullmatch(name)
                if not member.isreg() or match is None or name.startswith("__"):
                    continue
                kind = match[2].lower()
                stream = tar.extractfile(member) if kind in ("cls", "json") else None
                content = None if stream is None else stream.read()
                yield match[1], kind, (name, member.offset_data, member.size), content
    except tarfile.TarError as error:
        raise DataError(
            f"{shard}: damaged, or not an uncompressed tar ({one_line(error)}); copy it again or unpack .gz"
        ) from None
    except OSError as error:
        raise DataError(f"{shard}: cannot be read ({error.strerror or error})") from None


def _labels(kind: str, content: bytes, where: str) -> Any:
    """The labels in a member, or None."""
    try:
        if kind == "cls":
            return content.decode().strip()
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not readable ({one_line(error)})") from None
    if not isinstance(table, dict):
        return None
    return next((table[name] for name in ("cls", *LABEL_COLUMNS) if table.get(name) is not None), None)
