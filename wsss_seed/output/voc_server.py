"""Archives of label maps for the VOC evaluation server.

The server unpacks an archive and expects, for each image of VOC's test list, an index PNG with VOC's palette::

    results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png

comp5 is for methods trained on VOC only, comp6 for all others.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np

from ..data.classes import IGNORE, ClassSet, load_class_set, voc_palette
from ..data.images import read_labels
from ..data.voc_layout import layout_of
from ..errors import UsageError, unknown_name
from ..io.files import atomic_replace
from ..io.png import mask_bytes
from .run_folder import mask_path, write_error

Competition = Literal["comp5", "comp6"]
COMPETITIONS: tuple[Competition, ...] = get_args(Competition)


@dataclass(frozen=True)
class Package:
    """An archive for the server: its path, the number of label maps, and the number of those with ignored pixels, which
    became background."""

    path: Path
    images: int
    with_ignore: int


def pack(run: Path, out: Path, class_set: ClassSet, ids: Sequence[str], competition: str = "comp6") -> Package:
    """Pack the label maps of a run folder for the VOC server.

    The server does not accept the ignore label, which becomes background. The same label maps give the same bytes.
    The archive is written atomically.

    Args:
        run: the run folder.
        out: the archive; its suffix determines the format: .tar.gz, .tgz, .tar or .zip.
        class_set: class set of the run; must be VOC's.
        ids: ids that the server expects; each needs a label map.
        competition: ``comp5`` or ``comp6``.

    Raises:
        WsssError: not VOC's classes, a label map that is missing, unreadable or has invalid labels, an unknown suffix
            or competition, or an archive that cannot be written.
    """
    kind = check(out, class_set, competition)
    if folders := [name for name in ids if "/" in name]:
        raise UsageError(f"{run}: {folders[0]} is no id of VOC, whose images lie in one folder")
    layout = layout_of(run)
    missing = [name for name in ids if not mask_path(run, name, layout).is_file()]
    if missing:
        raise UsageError(
            f"{run}: {len(missing)} of {len(ids)} images have no label map, {missing[0]} for one; the server wants all"
        )
    folder = PurePosixPath("results/VOC2012/Segmentation") / f"{competition}_test_cls"
    with_ignore = 0

    def members() -> Iterator[tuple[str, bytes]]:
        nonlocal with_ignore
        for name in sorted(ids):
            labels = read_labels(mask_path(run, name, layout))
            ignored = labels == IGNORE
            with_ignore += bool(ignored.any())
            labels[ignored] = 0
            if labels.max() > len(class_set.names):
                raise UsageError(f"{mask_path(run, name, layout)}: label {labels.max()}, beyond the classes of VOC")
            yield str(folder / f"{name}.png"), mask_bytes(np.ascontiguousarray(labels), voc_palette())

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_replace(out, lambda part: _WRITERS[kind](part, members()))
    except OSError as error:
        raise write_error(out, error) from error
    return Package(out, len(ids), with_ignore)


def check(out: Path, class_set: ClassSet, competition: str) -> str:
    """Raise WsssError if the arguments are invalid for ``pack``; return the suffix of the archive."""
    if competition not in COMPETITIONS:
        raise unknown_name("competition", competition, COMPETITIONS)
    voc = load_class_set("voc").names
    if class_set.names != voc:
        raise UsageError(f"the VOC server knows the {len(voc)} classes of VOC in their order, not '{class_set.name}'")
    kind = next((suffix for suffix in _WRITERS if out.name.casefold().endswith(suffix)), None)
    if kind is None:
        raise UsageError(f"{out}: an archive for the server ends in {', '.join(_WRITERS)}")
    return kind


def _write_tar(path: Path, members: Iterable[tuple[str, bytes]], *, gz: bool) -> None:
    with open(path, "xb") as file, ExitStack() as stack:
        # gzip would store name and time
        stream = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0)) if gz else file
        archive = stack.enter_context(tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT))
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "x") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980, the earliest date of zip


_WRITERS: dict[str, Callable[[Path, Iterable[tuple[str, bytes]]], None]] = {
    ".tar.gz": partial(_write_tar, gz=True),
    ".tgz": partial(_write_tar, gz=True),
    ".tar": partial(_write_tar, gz=False),
    ".zip": _write_zip,
}
