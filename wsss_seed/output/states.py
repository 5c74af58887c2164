"""What earlier runs with the same settings have finished, by the manifest and one look at each file.

A resumed run of a million images begins with it: paths are texts here, because a ``Path`` takes longer to make than to
look up, and nothing is kept per image but a few numbers.
"""

from __future__ import annotations

import enum
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.base import Sample
from ..data.images import read_rgb
from ..data.lazy import Index
from ..data.samples import ids_of, labels_of, paths_of
from ..data.voc_layout import CONFIDENCE, IMAGES, MASKS, Layout, file_name
from ..errors import ImageError, RunFolderError
from ..io.source import Location, Source
from ..io.stamp import Stamp
from .manifest import Outline, read_outlines


class State(enum.IntEnum):
    """State of an image after earlier runs with the same settings."""

    TODO = 0
    DONE = 1
    KEPT = 2
    """There is a valid mask that differs from the one the run wrote: it was edited."""
    REPLACED = 3
    """There is a mask, but the content of the image file has changed since."""


def states_of(
    samples: Sequence[Sample],
    files: Iterable[Location],
    run: Location,
    layout: Layout,
    settings: str,
    names: Sequence[str],
    since: float = 0.0,
) -> bytearray:
    """The ``State`` of each sample.

    Args:
        samples: the images.
        files: the manifest files to read.
        run: the run folder; on object storage its files are not looked at, since each would cost a request.
        layout: how its files are named.
        settings: fingerprint of the settings; records with others do not count.
        names: names of the classes.
        since: time in seconds since 1970 from which on results count.

    Raises:
        OSError: the manifest cannot be read.
        RunFolderError: finished masks were made with image-level labels that differ from the current ones.
    """
    ids, images, labels = ids_of(samples), paths_of(samples), labels_of(samples)
    index, folder = Index(ids), None if isinstance(run, Source) else str(run)
    states, times = bytearray(len(ids)), array("d", [-1.0]) * len(ids)
    relabelled: dict[str, str] = {}
    for record in read_outlines(files):
        i = index.position(record.id)
        if i < 0 or record.finished < since or record.finished < times[i]:
            continue
        times[i] = record.finished
        states[i] = state = _state(record, folder, layout, images[i]) if record.settings == settings else State.TODO
        if relabelled:
            relabelled.pop(record.id, None)
        if state == State.DONE or state == State.KEPT:
            given = labels[i]
            now = None if given is None else tuple(names[label] for label in given)
            if record.labels != now:
                relabelled[record.id] = f"{_listed(record.labels)} -> {_listed(now)}"
    if relabelled:
        several = f", and {len(relabelled) - 5} more" if len(relabelled) > 5 else ""
        changes = ", ".join(f"{id}: {change}" for id, change in [*relabelled.items()][:5])
        raise RunFolderError(
            f"{run}: finished masks were made with other image-level labels ({changes}{several}); use "
            "`overwrite` to start the run again, or another `out`"
        )
    return states


def _state(record: Outline, run: str | None, layout: Layout, image: str) -> State:
    if record.status != "ok" or record.mask is None:
        return State.TODO
    name = file_name(record.id, layout)
    mask = f"{run}/{MASKS}/{name}.png"
    try:
        if run is not None and not _fits(record.mask, mask):
            read_rgb(Path(mask))  # an editor may have saved it as RGB, which evaluation and training will report
            return State.KEPT
        if image and record.image is not None and not _fits(record.image, image):
            return State.REPLACED
        if run is not None:
            if not os.access(f"{run}/{CONFIDENCE}/{name}.png", os.F_OK):
                return State.TODO
            os.lstat(f"{run}/{IMAGES}/{name}.jpg")
    except (OSError, ImageError):  # missing or damaged
        return State.TODO
    return State.DONE


def _fits(stamp: Stamp, path: str) -> bool:
    """``Stamp.fits``, without a ``Path`` for a file that was not touched."""
    now = os.stat(path)
    return (now.st_size, now.st_mtime_ns) == (stamp.bytes, stamp.mtime_ns) or stamp.fits(Path(path))


def _listed(labels: Sequence[str] | None) -> str:
    return "no labels" if labels is None else ", ".join(labels) or "no class"
