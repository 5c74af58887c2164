"""Atomic replacement of a folder.

The new folder is created next to its destination, under a hidden name with a hash. State after a kill at each step:

1. ``.HASH-N.new.part`` is created and filled, the marker last. A kill leaves it; the destination is unchanged.
2. The former folder is renamed to ``.HASH-N.old.part``. A kill leaves no destination, and both folders complete.
3. The new folder is renamed to the destination. A kill leaves it there, and the former folder complete.
4. The former folder is renamed to ``.HASH-N.new.part`` and removed. A kill leaves a part of it under that name.

So a folder that ends in ``.old.part`` is always complete, and one that ends in ``.new.part`` is disposable. The next
export to the same destination restores the former folder if there is no destination, and removes the rest. Each folder
is locked by the process that uses it, so that only those of dead processes are touched; on systems without such locks
they stay.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RunFolderError
from ..io.files import write_json
from ..io.lock import FolderLock
from ..io.text import read_json

MARKER = "export.json"


@contextmanager
def whole_folder(out: Path, overwrite: bool, about: dict[str, Any]) -> Iterator[Path]:
    """A new folder next to ``out``, which replaces it on success and is removed otherwise.

    Args:
        out: the folder; new, empty or, with ``overwrite``, an export without other files.
        overwrite: replace an export.
        about: contents of the marker file; the caller may add to it until the end.

    Raises:
        WsssError: the folder has other content.
        OSError: it cannot be written.
    """
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    _clean_up(out)
    _refuse_other_content(out, overwrite)
    with ExitStack() as locks:
        new, old = _made(out, locks), _beside(out, "old")
        try:
            yield new
            content = sorted(path.name for path in new.iterdir())
            write_json(new / MARKER, {**about, "content": content, "versions": {"wsss_seed": __version__}})
            _refuse_other_content(out, overwrite)  # much time may have passed
            if out.exists():
                locks.enter_context(FolderLock(out)).take(shared=False)
            try:
                if out.exists():
                    out.rename(old)
                new.rename(out)
            except BaseException:
                if old.exists() and not out.exists():
                    old.rename(out)
                raise
            if old.exists():
                old.rename(new)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{_hash(out)}-{secrets.token_hex(8)}.{kind}.part")


def _hash(out: Path) -> str:
    """Hash of the name, which by itself may be as long as the file system allows."""
    return hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]


def _made(out: Path, locks: ExitStack) -> Path:
    """A new locked folder. If another process removes it before it is locked, as one of a dead process, try again."""
    while True:
        new = _beside(out, "new")
        new.mkdir()
        with ExitStack() as own:
            if own.enter_context(FolderLock(new)).take(shared=False) and new.exists():
                locks.push(own.pop_all())
                return new


def _clean_up(out: Path) -> None:
    """Restore or remove what killed exports to this destination have left."""
    ours = re.compile(rf"\.{_hash(out)}-[0-9a-f]{{16}}\.(new|old)\.part")
    for path in sorted(out.parent.glob(f".{_hash(out)}-*.part")):
        kind = ours.fullmatch(path.name)
        if kind is None or path.is_symlink() or not path.is_dir():
            continue
        try:
            lock = FolderLock(path)
        except OSError:  # its process is renaming it, or it belongs to another user
            continue
        with lock:
            if not lock.works() or not lock.take(shared=False) or not path.exists():
                continue
            if kind[1] == "old" and not out.exists() and not out.is_symlink():
                path.rename(out)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _refuse_other_content(out: Path, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise RunFolderError(f"{out}: not a folder; choose another")
    content = {path.name for path in out.iterdir()}
    if not content:
        return
    if MARKER not in content:
        raise RunFolderError(f"{out}: not empty and not an export; choose another folder")
    marker = read_json(out / MARKER)
    own = marker.get("content") if isinstance(marker, dict) else None
    if isinstance(own, list) and all(isinstance(name, str) for name in own):
        others = sorted(content - {MARKER, *own})
    else:
        others = [MARKER]
    if others:
        raise RunFolderError(f"{out}: holds what no export wrote ({others[0]}); move it away or choose another folder")
    if not overwrite:
        raise RunFolderError(f"{out}: holds an export; use `overwrite` to make it again, or choose another folder")
