"""Atomic writes: a file is either complete or absent."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .source import Location, Source

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""For ``os.open``: fail on a symbolic link instead of following it, where the platform supports it."""

_PART = re.compile(r"\.[0-9a-f]{16}\.part")


def write_bytes(path: Location, data: bytes) -> None:
    """Write a file atomically: even after a kill, it has either its old or its complete new content.

    A symbolic link at ``path`` is replaced, not followed. Parent folders are created. Raises OSError.
    """
    if isinstance(path, Source):
        path.write_bytes(data)
    else:
        write_lines(path, [data])


def atomic_replace(path: Path, make: Callable[[Path], object]) -> None:
    """Let ``make`` create a temporary file beside ``path`` and rename it to ``path``."""
    part = _part_beside(path)
    try:
        make(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS, errno.EMLINK}
"""What ``os.link`` and ``os.symlink`` raise where the file system has no links."""


def write_once(path: Location, data: bytes) -> bool:
    """Write a file atomically unless it exists: of several processes one succeeds, the others get False.

    Works on network file systems without locks. Without hard links a kill may leave the file empty. Raises OSError.
    """
    if isinstance(path, Source):
        return path.create(data)
    part = _part_beside(path)
    try:
        with open(part, "xb") as file:
            file.write(data)
        try:
            os.link(part, path)
            return True
        except FileExistsError:
            return os.stat(part).st_nlink == 2  # NFS repeats a request whose answer was lost
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
    finally:
        part.unlink(missing_ok=True)
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def write_lines(path: Location, lines: Iterable[bytes]) -> None:
    """``write_bytes`` of a file of any size, line by line."""

    def fill(part: Path) -> None:
        with open(part, "xb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())

    if isinstance(path, Source):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, path.name)
            fill(part)
            path.upload(part)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_replace(path, fill)


def open_file(path: Location, buffer: int = -1) -> IO[bytes]:
    """A file open for reading at any place; from object storage, a temporary copy of it. Raises OSError.

    Args:
        path: the file.
        buffer: bytes to read ahead; -1 for the default.
    """
    if not isinstance(path, Source):
        return open(path, "rb", buffer)
    copy: IO[bytes] = tempfile.TemporaryFile(buffering=buffer)  # noqa: SIM115
    try:
        path.download(copy)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def names_in(folder: Location) -> list[str]:
    """Names of what a folder contains, sorted; nothing if there is no such folder. Raises OSError."""
    if isinstance(folder, Source):
        return sorted(entry.name for entry in folder.iterdir())
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def write_text(path: Location, text: str) -> None:
    """``write_bytes`` of UTF-8; undecodable bytes from file names are written unchanged."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Location, value: Mapping[str, Any]) -> None:
    """``write_text`` of an indented JSON object."""
    write_text(path, json.dumps(plain(value), indent=2) + "\n")


def _part_beside(path: Path) -> Path:
    """A name for a temporary file, of fixed length: with the file's own name in it, it might become too long."""
    return path.with_name(f".{secrets.token_hex(8)}.part")


def is_part(path: Location) -> bool:
    """Whether a file is the temporary file of an interrupted write."""
    return _PART.fullmatch(path.name) is not None


def remove_tree(folder: Location) -> None:
    """Remove a folder and all files in it. Raises OSError."""
    if isinstance(folder, Source):
        folder.remove_tree()
    else:
        shutil.rmtree(folder)


def remove_parts(folders: Iterable[Location]) -> None:
    """Remove the temporary files of interrupted writes. Only safe if no other process is writing to the folders.

    Object storage has none.
    """
    for folder in (folder for folder in folders if isinstance(folder, Path)):
        for parent, _, names in os.walk(folder):  # rglob is ten times slower, and there may be millions of files
            for name in names:
                if _PART.fullmatch(name):
                    Path(parent, name).unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """A value in JSON types: numpy values as numbers and lists, tuples and sets as lists, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)
