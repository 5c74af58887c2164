"""Atomic replacement of a folder.

The new folder is created next to its destination, under a hidden name with a hash. State after a kill at each step:

1. ``.HASH-N.new.part`` is made and filled, the marker last. A kill leaves it; in the place is what was there before.
2. The former folder is renamed to ``.HASH-N.old.part``. A kill leaves nothing in the place, and both beside it, whole.
3. The new folder is renamed to its place. A kill leaves the new folder there, and the former one beside it, whole.
4. The former folder is renamed to ``.HASH-N.new.part`` and removed. A kill leaves some of it under that name.

So what ends in ``.old.part`` is always whole, and what ends in ``.new.part`` is of no use. The next export to this
place sees to both: it puts the former folder back where its place is empty, and removes the rest. Each of them is
locked by the process that is at work with it, so that only what a dead one has left is touched; where the system has no
such locks it stays.
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

from ... import __version__
from ...errors import RunFolderError
from ...io.files import write_json
from ...io.lock import FolderLock
from ...io.text import read_json

MARKER = "export.json"


@contextmanager
def whole_folder(out: Path, overwrite: bool, about: dict[str, Any]) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when all went well, and is removed otherwise.

    Args:
        out: the folder; new, empty or, with ``overwrite``, an export in which nothing else lies.
        overwrite: replace an export.
        about: what the export says of itself; filled by the caller until the end.

    Raises:
        WsssError: the folder holds something else.
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
            _refuse_other_content(out, overwrite)  # a long time may have gone by
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
    """Of a name that may be as long as the file system allows."""
    return hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]


def _made(out: Path, locks: ExitStack) -> Path:
    """A new locked folder. Another process may take it for a dead one's before it is locked; then there is a next."""
    while True:
        new = _beside(out, "new")
        new.mkdir()
        with ExitStack() as own:
            if own.enter_context(FolderLock(new)).take(shared=False) and new.exists():
                locks.push(own.pop_all())
                return new


def _clean_up(out: Path) -> None:
    """Put back or remove what exports to this place left that were killed."""
    ours = re.compile(rf"\.{_hash(out)}-[0-9a-f]{{16}}\.(new|old)\.part")
    for path in sorted(out.parent.glob(f".{_hash(out)}-*.part")):
        kind = ours.fullmatch(path.name)
        if kind is None or path.is_symlink() or not path.is_dir():
            continue
        try:
            lock = FolderLock(path)
        except OSError:  # its process is just at it, or it is another user's
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
    others = sorted(content - {MARKER, *own}) if isinstance(own, list) else [MARKER]
    if others:
        raise RunFolderError(f"{out}: holds what no export wrote ({others[0]}); move it away or choose another folder")
    if not overwrite:
        raise RunFolderError(f"{out}: holds an export; use `overwrite` to make it again, or choose another folder")
