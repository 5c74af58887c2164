"""The images of a report: inside its page, or as files beside it.

A page in a folder loads only what is looked at, and only as pictures and scripts, because browsers forbid a page that
was opened from a disk to read any other file::

    FOLDER/index.html
    FOLDER/index/<n>.js                 what filters and orders need of 5,000 images, worst first
    FOLDER/cards/<n>.js                 the rest of what 25 images need in the gallery, in the same order
    FOLDER/images/<nnn>/<nnn>/...       thumbnails of an image, and ``large.js`` and ``large.webp``, its enlarged view

The script of the page defines ``wsssSeed``, which each of the scripts calls with its name and content.
"""

from __future__ import annotations

import heapq
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...io.files import plain
from .pictures import Enlarged, Picture

INDEXED, CHUNK = 5000, 25
"""Images per file of the index and of the cards; 25 are a page of the gallery."""


class Entry(Protocol):
    """One image of the gallery."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Sort key, worst first."""

    @property
    def pictures(self) -> Mapping[str, Picture]:
        """The thumbnails by name."""

    @property
    def enlarged(self) -> Enlarged:
        """The enlarged view."""

    def summary(self) -> dict[str, Any]:
        """What filters and orders need, as JSON values."""

    def detail(self) -> dict[str, Any]:
        """What else the gallery and the enlarged view show, as JSON values without pictures."""


@dataclass(frozen=True)
class Gallery:
    """The images of a page.

    Attributes:
        shown: number of images.
        with_boxes, with_missed, with_pairs: how many of them have boxes, classes that may have been missed, and pairs
            of classes.
        cards: the images as JSON values, worst first; empty if they are in files.
        enlarged: their enlarged views.
        parts: number of files of the index; 0 if the images are in the page.
        bytes: size of the files.
    """

    shown: int
    with_boxes: int
    with_missed: int
    with_pairs: int
    cards: tuple[dict[str, Any], ...] = ()
    enlarged: tuple[dict[str, Any], ...] = ()
    parts: int = 0
    bytes: int = 0


def in_page(entries: Iterable[Entry], limit: int) -> Gallery:
    """The worst images, to be put into the page; only these are kept in memory."""
    worst = heapq.nsmallest(limit, entries, key=lambda entry: entry.key)
    cards = tuple(
        entry.summary() | entry.detail() | {"pictures": {name: p.uri for name, p in entry.pictures.items()}}
        for entry in worst
    )
    return Gallery(
        shown=len(cards),
        with_boxes=_number(cards, "boxes"),
        with_missed=_number(cards, "missed"),
        with_pairs=_number(cards, "pairs"),
        cards=cards,
        enlarged=tuple({**entry.enlarged.maps, "photo": entry.enlarged.photo.uri} for entry in worst),
    )


def in_files(entries: Iterable[Entry], limit: int | None, folder: Path) -> Gallery:
    """The worst images, or all, as files in a folder.

    In memory are only the sort keys: some hundred bytes per image. Raises OSError.
    """
    files = _Files(folder)
    keys: list[tuple[tuple[Any, ...], int, int]] = []
    with tempfile.TemporaryFile(dir=folder) as spool:
        for number, entry in enumerate(entries):
            place = f"images/{number // 1000:03}/{number % 1000:03}"
            pictures = {name: files.picture(f"{place}/{name}", picture) for name, picture in entry.pictures.items()}
            photo = files.picture(f"{place}/large", entry.enlarged.photo)
            files.script(f"{place}/large", {**entry.enlarged.maps, "photo": photo})
            card = [entry.summary(), {**entry.detail(), "pictures": pictures, "large": f"{place}/large"}]
            keys.append((entry.key, number, spool.tell()))
            spool.write(json.dumps(plain(card)).encode() + b"\n")
        keys.sort()
        kept, others = keys[:limit], keys[len(keys) if limit is None else limit :]
        for _, number, _ in others:
            shutil.rmtree(folder / f"images/{number // 1000:03}/{number % 1000:03}")
        counts = dict.fromkeys(("boxes", "missed", "pairs"), 0)
        summaries, details = [], []
        for place_in_order, (_, _, offset) in enumerate(kept, 1):
            spool.seek(offset)
            summary, detail = json.loads(spool.readline())
            for name in counts:
                counts[name] += bool((summary | detail).get(name))
            summaries.append(summary)
            details.append(detail)
            last = place_in_order == len(kept)
            if len(details) == CHUNK or last:
                files.script(f"cards/{(place_in_order - 1) // CHUNK}", details)
                details = []
            if len(summaries) == INDEXED or last:
                files.script(f"index/{(place_in_order - 1) // INDEXED}", summaries)
                summaries = []
    return Gallery(
        shown=len(kept),
        with_boxes=counts["boxes"],
        with_missed=counts["missed"],
        with_pairs=counts["pairs"],
        parts=-(-len(kept) // INDEXED),
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


class _Files:
    """Files in a new folder, which nobody reads before it is whole: they need not be atomic or synchronised."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def picture(self, name: str, picture: Picture) -> str:
        """Write a picture and return its address."""
        self._write(address := f"{name}.{picture.kind}", picture.content)
        return address

    def script(self, name: str, content: Any) -> None:
        """Write JSON values as a script."""
        self._write(f"{name}.js", f"wsssSeed({json.dumps(name)}, {json.dumps(plain(content))});\n".encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _number(cards: Iterable[Mapping[str, Any]], key: str) -> int:
    return sum(bool(card.get(key)) for card in cards)
