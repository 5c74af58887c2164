"""Tags in file names, by which ``import`` recognises images that have been through an editor.

Editors keep the names of files, and little else. A tag says which image of which run a file shows, which label map was
exported with it, and how many decisions had been made about the image by then (``data.corrections``)::

    cats__0001-ws5d1f0c9a7b3e8c40d2f1r0.png
                 IMAGE       STATE   REVISION

IMAGE is a digest of run and id, so that the rest of a name is for people only: editors may cut it, or put something in
front. It has ASCII letters, digits, ``_`` and ``-`` only, which no editor changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.corrections import class_digest, read_log
from ...io.stamp import Stamp
from ..finished import FinishedRun
from ..run_folder import fingerprint

_TAG = re.compile(r"-ws([0-9a-f]{12})([0-9a-f]{8})r(\d{1,9})(?![0-9a-z])", re.IGNORECASE)
_LONGEST = 80  # of what is for people, in characters


@dataclass(frozen=True)
class Tag:
    """What identifies an exported label map.

    Attributes:
        image: digest of run and id.
        state: digest of the file of the label map, see ``state_of``.
        revision: number of decisions about the image.
    """

    image: str
    state: str
    revision: int

    def __str__(self) -> str:
        return f"-ws{self.image}{self.state}r{self.revision}"


def find_tag(name: str) -> Tag | None:
    """The last tag in a file name; None without any."""
    found = _TAG.findall(name)
    return Tag(found[-1][0].lower(), found[-1][1].lower(), int(found[-1][2])) if found else None


def image_digest(about: Mapping[str, Any], names: tuple[str, ...], id: str) -> str:
    """Digest of run and id. A copy of a run is the same run, one that was started over is another.

    Args:
        about: contents of ``run.json``.
        names: names of the classes, background first.
        id: of the image.
    """
    parts = (fingerprint(about["settings"]), str(about.get("started")), class_digest(names), id)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def state_of(digest: str) -> str:
    """The part of the SHA-256 of a label map that a tag has."""
    return digest[:8]


class Tagger:
    """Names the files of an export for an editor.

    Args:
        run: the run.

    Raises RunFolderError if its corrections are damaged.
    """

    def __init__(self, run: FinishedRun) -> None:
        self._run = run
        if run.corrections is not None:  # read with the masks, so that no decision made since seems to be exported
            self._revisions = run.corrections.revisions
        else:
            self._revisions = {correction.id: correction.revision for correction in read_log(run.path)}

    def name(self, id: str, mask: Path) -> str:
        """The file name of an image, without suffix.

        Args:
            id: of the image.
            mask: its label map.

        Raises OSError if that cannot be read.
        """
        state = state_of(Stamp.of(mask).sha256)
        tag = Tag(image_digest(self._run.about, self._run.names, id), state, self._revisions.get(id, 0))
        plain = re.sub(r"[^0-9A-Za-z_-]+", "_", id.replace("/", "__")).strip("_-")[:_LONGEST]
        return f"{plain or 'image'}{tag}"
