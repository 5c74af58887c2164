"""What editors wrote, unpacked with care, and what its readers return."""

from __future__ import annotations

import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import DataError

KINDS = (".json", ".png", ".txt", ".geojson")
"""What is unpacked: annotations and masks; images need not be."""

MAX_RATIO = 200
"""Most bytes per byte of an archive, of those beyond ``MAX_SMALL``. PNG files hardly shrink, JSON to a tenth or less;
a bomb is a thousand times its size."""
MAX_SMALL = 2**28
"""Bytes that any archive may unpack to."""


@dataclass(frozen=True)
class Options:
    """How to read what an editor leaves open; see ``import_masks``."""

    annotator: str | None = None
    empty: bool = False


@dataclass(frozen=True)
class Edited:
    """One image in a file of an editor.

    Attributes:
        name: its file name there, which has a tag.
        read: returns its label map, uint8 (H, W), of the shape in the run (or of its own, if that differs); it is given
            that shape and the label map as it was exported, or None if the run no longer has it. Raises DataError. None
            for an image without annotations.
    """

    name: str
    read: Callable[[tuple[int, int], np.ndarray | None], np.ndarray] | None


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """A folder with the annotations and masks of a zip file, for as long as the context lasts; other paths as they are.

    Raises DataError for what does not exist, and for a zip file that is damaged, has names that lead out of it, or
    would be far larger unpacked.
    """
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; give what the editor exported")
    if not source.is_file():
        raise DataError(f"{source}: not a regular file")
    try:
        is_zip = zipfile.is_zipfile(source)
        with open(source, "rb") as file:
            begins_like_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error})") from None
    if not is_zip:
        if begins_like_zip:
            raise DataError(f"{source}: damaged zip file; export or download it again")
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="wsss-seed-") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                _unpack(archive, source, Path(folder))
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
            raise DataError(f"{source}: damaged zip file ({error}); export or download it again") from None
        except OSError as error:
            raise DataError(f"{source}: cannot be unpacked ({error.strerror or error})") from None
        yield Path(folder)


def _unpack(archive: zipfile.ZipFile, source: Path, folder: Path) -> None:
    members = archive.infolist()
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in str(path):
            raise DataError(f"{source}: has the name {member.filename!r}, which leads out of the archive; not unpacked")
    wanted = [m for m in members if not m.is_dir() and PurePosixPath(m.filename).suffix.lower() in KINDS]
    size = sum(member.file_size for member in wanted)
    if size > MAX_SMALL + MAX_RATIO * source.stat().st_size:
        raise DataError(f"{source}: {size / 1e9:.1f} GB unpacked, far more than it should be; not unpacked")
    for member in wanted:
        target = folder / PurePosixPath(member.filename.replace("\\", "/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as stream, open(target, "xb") as file:
            shutil.copyfileobj(stream, file, 2**20)  # zipfile stops at the stated size
