"""Valid image ids. An id becomes a file name in the run folder, so it must not point outside it."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Sequence

from ..errors import DataError
from .lazy import Index

# Control characters, lone surrogates (file names that are not valid UTF-8), line and paragraph separators:
# lists with one id per line cannot contain them.
_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}


# Characters that Windows forbids in file names, and device names regardless of suffix: run folders may be copied there.
_FORBIDDEN = frozenset('<>:"|?*\\')
_DEVICE = re.compile(r"(?:^|/)((?:con|prn|aux|nul|com[0-9]|lpt[0-9]) *)(?=[./]|$)", re.IGNORECASE)

# What most ids are made of; names that might be those of devices are left to the other checks.
_PLAIN = re.compile(r"(?:(?!con|prn|aux|nul|com|lpt)[a-z0-9_-]+(?:/(?!$)|$))+", re.IGNORECASE | re.ASCII)

LONGEST = 255 - len(".jpg")
"""Longest part of an id in bytes that common file systems support as a file name."""


def _fault(id: str) -> str | None:
    if not id:
        return "is empty"
    if id.startswith("/") or (len(id) > 1 and id[1] == ":" and id[0].isalpha()):
        return "is an absolute path"
    if "\\" in id:
        return "contains a backslash"
    parts = id.split("/")
    if ".." in parts or "." in parts:
        return "contains a '.' or '..' part"
    if "" in parts:
        return "has an empty part between slashes"
    if not (id.isascii() and id.isprintable()) and any(unicodedata.category(c) in _UNWRITABLE for c in id):
        return "contains a control character, a line break or bytes that are not UTF-8"
    if id != id.strip():
        return "begins or ends with white space"
    return None


def id_fault(id: str) -> str | None:
    """Why an id is not a valid file name on every system, because of ``check_id`` or Windows; None if it is valid.

    Lists with such ids are still accepted, for example those of run folders from other systems.
    """
    if _PLAIN.fullmatch(id):
        return None
    if fault := _fault(id):
        return fault
    if not _FORBIDDEN.isdisjoint(id):
        return 'contains one of <>:"|?*, which Windows forbids'
    if any(part.endswith((".", " ")) for part in id.split("/")):
        return "has a part that ends with a dot or a space, which Windows drops"
    if device := _DEVICE.search(id):
        return f"contains {device[1]!r}, the name of a device on Windows"
    return None


def folded(id: str) -> str:
    """An id after case folding and Unicode normalization, in which some file systems do not distinguish ids."""
    if id.isascii():
        return id.casefold()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", id).casefold())


def escaped(name: str) -> str:
    """A valid id for any file path: invalid characters are percent-encoded."""
    return "/".join(_escaped_part(part) for part in name.split("/"))


def _escaped_part(part: str) -> str:
    encode = {
        i
        for i, c in enumerate(part)
        if c == "%"
        or c in _FORBIDDEN
        or unicodedata.category(c) in _UNWRITABLE
        or (i == 0 and (c.isspace() or _DEVICE.match(part)))
        or (i == len(part) - 1 and (c.isspace() or c == "."))
    }
    text = "".join(_percent(c) if i in encode else c for i, c in enumerate(part))
    if len(text.encode()) <= LONGEST:
        return text
    return f"{text.encode()[:200].decode(errors='ignore')}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(character))


def check_id(id: str, where: str = "") -> str:
    """Return the id if it names an image inside a folder: relative, without ``..``, printable.

    Spaces within names and letters of any alphabet are allowed; ``/`` separates folders.

    Args:
        id: name of the image without suffix.
        where: source of the id (file, line), for the message.

    Raises:
        WsssError: the id is invalid.
    """
    if fault := _fault(id):
        raise DataError(f"{where + ': ' if where else ''}image id {id!a} {fault}; rename the image")
    return id


def check_ids(ids: Sequence[str], where: Callable[[int], str]) -> None:
    """Check that ids are valid and unique.

    Args:
        ids: the ids of a dataset in order.
        where: returns the source (file, line) of an id, given its position.

    Raises:
        WsssError: an id is invalid or repeated.
    """
    for i, id in enumerate(ids):
        if _fault(id):
            check_id(id, where(i))
    if repeated := Index(ids).repeated():
        first, second = min((alike[:2] for alike in repeated), key=lambda pair: pair[1])
        raise DataError(
            f"{where(second)}: image id {ids[first]!r} is already given by {where(first)}; ids must be unique"
        )
