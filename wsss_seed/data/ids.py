"""Which ids an image may have. An id becomes a file name in the run folder, so it must not lead out of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from ..errors import WsssError

# Control characters, lone surrogates (file names that are not valid UTF-8), line and paragraph separators:
# none of them survives a list with one id a line.
_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}


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
    plain = id.isascii() and id.isprintable()
    if not plain and any(unicodedata.category(c) in _UNWRITABLE for c in id):
        return "contains a control character, a line break or bytes that are not UTF-8"
    if id != id.strip():
        return "begins or ends with white space"
    return None


def check_id(id: str, where: str = "") -> str:
    """Return the id if it names an image inside a folder: relative, without ``..``, printable.

    Spaces between words and letters of any alphabet are fine; ``/`` parts folders.

    Args:
        id: the image's name without suffix.
        where: the file, and line, it was found in, for the message.

    Raises:
        WsssError: the id is no such name.
    """
    fault = _fault(id)
    if fault:
        raise WsssError(f"{where + ': ' if where else ''}image id {id!a} {fault}; rename the image")
    return id


def check_ids(ids: Sequence[str], where: Callable[[int], str]) -> None:
    """Check every id, and that none is there twice.

    Args:
        ids: the ids of a dataset in order.
        where: says for a position in ``ids`` which file or line it comes from.

    Raises:
        WsssError: an id is unusable or repeated.
    """
    first: dict[str, int] = {}
    for i, id in enumerate(ids):
        if _fault(id):
            check_id(id, where(i))
        if first.setdefault(id, i) != i:
            raise WsssError(f"{where(i)}: image id {id!r} is already given by {where(first[id])}; ids must be unique")
