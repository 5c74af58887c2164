"""Names in folders with VOC layout, shared by the VOC reader and run folders.

The files of an image are named after its id, ``SegmentationClass/<id>.png``. File systems, and the tools that list
them, become slow with millions of files in a folder. In run folders of the layout ``nested`` they lie two folders
deeper, ``SegmentationClass/3f/a2/<id>.png``, by the first two bytes of the SHA-256 of the id (ours: ids begin alike,
their digests do not), in 65,536 folders. The list of such a run has these names instead of ids, so that other readers
of VOC find the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from ..errors import unknown_name
from ..io.source import Location, SomeLocation

MASKS, CONFIDENCE, IMAGES, LISTS = "SegmentationClass", "Confidence", "JPEGImages", "ImageSets"
CLASSES = "classes.txt"
RUN = "run.json"
"""The file that makes a folder a run folder."""

Layout = Literal["flat", "nested"]
"""How the files of a run folder are named."""

_PREFIX = len("3f/a2/")


def check_layout(name: str | None) -> Layout | None:
    """Return the name if it is a ``Layout`` or None. Raises UsageError."""
    if name is None or name in get_args(Layout):
        return name  # type: ignore[return-value]
    raise unknown_name("layout", name, get_args(Layout))


def layout_of(root: Location) -> Layout:
    """The layout of a run folder, as its ``run.json`` says; ``flat`` for any other folder."""
    try:
        run = json.loads((root / RUN).read_bytes())
    except (OSError, ValueError, RecursionError):  # reading the run will report the problem
        return "flat"
    return layout_of_run(run) if isinstance(run, dict) else "flat"


def layout_of_run(about: Mapping[str, Any]) -> Layout:
    """The layout of a run, from the contents of its ``run.json``."""
    return "nested" if about.get("layout") == "nested" else "flat"


def file_name(id: str, layout: Layout) -> str:
    """The name of the files of an image, without suffix."""
    if layout == "flat":
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{id}"


def mask_path(folder: SomeLocation, id: str, layout: Layout) -> SomeLocation:
    """Path of the label map of an id in a run folder."""
    return cast(SomeLocation, folder / MASKS / f"{file_name(id, layout)}.png")


def id_of(name: str, layout: Layout) -> str:
    """Inverse of ``file_name``; a name that it does not make, such as one added to a list by hand, is an id itself."""
    id = name[_PREFIX:]
    return id if layout == "nested" and id and file_name(id, layout) == name else name
