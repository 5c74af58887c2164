"""Import of masks that somebody corrected in an editor, as corrections of the run they were exported from.

Each of ``FORMATS`` is a module with ``read(place, run, options)``, which yields an ``Edited`` per image in what an
editor wrote, and ``NAME``, the name of the editor. Everything is read and checked before the first decision is written.
Masks that do not differ from what was exported, or from the mask in use, are no corrections.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.corrections import ConflictError, Correction, CorrectionLog, mask_name, read_log
from ...data.images import read_labels
from ...errors import DataError, ImageError, RunFolderError, unknown_name
from ...io.stamp import Stamp
from ..export.tags import Tag, find_tag, image_digest, state_of
from ..finished import FinishedRun, open_run
from ..leases import is_alive, workers
from ..manifest import WORK
from ..run_folder import mask_path
from .edited import Edited, Options, unpacked

if TYPE_CHECKING:
    from ...io.progress import Reporter

FORMATS = {
    "cvat": 'CVAT\'s "Segmentation mask 1.1" or "COCO 1.0"',
    "labelstudio": "Label Studio's JSON",
    "labelme": "a folder of labelme's JSON files",
    "fiftyone": "a FiftyOneDataset or ImageSegmentationDirectory of FiftyOne",
}


@dataclass(frozen=True)
class Imported:
    """Summary of an import.

    Attributes:
        run: the run folder.
        format: what was imported.
        changed: ids of the images whose masks are new corrections.
        unchanged: number of label maps that nobody edited, or that are in use already.
        without: number of images of the file without annotations, which are left as they are.
        skipped: id and reason of the images that were reviewed, or whose mask changed, after the export.
        dry: whether nothing was written.
    """

    run: Path
    format: str
    changed: tuple[str, ...]
    unchanged: int
    without: int
    skipped: tuple[tuple[str, str], ...]
    dry: bool

    @property
    def exit_status(self) -> int:
        """0 if nothing was skipped, 1 otherwise."""
        return 1 if self.skipped else 0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "run": str(self.run),
            "format": self.format,
            "changed": list(self.changed),
            "unchanged": self.unchanged,
            "without_annotation": self.without,
            "skipped": [{"id": id, "reason": reason} for id, reason in self.skipped],
            "dry_run": self.dry,
        }


@dataclass(frozen=True)
class _Change:
    """A label map to be recorded.

    Attributes:
        id: of the image.
        shape: (H, W).
        packed: the label map, compressed.
        last: the decision it follows.
    """

    id: str
    shape: tuple[int, int]
    packed: bytes
    last: Correction | None

    @property
    def labels(self) -> np.ndarray:
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)


def import_masks(
    format: str,
    run: Path,
    source: Path,
    *,
    by: str = "",
    annotator: str | None = None,
    empty: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Reporter | None = None,
) -> Imported:
    """Record masks that were corrected in an editor as corrections of a run.

    The verdict of an image stays as it is: correcting a mask does not accept the image, but corrected masks count as
    reviewed.

    Args:
        format: one of ``FORMATS``.
        run: the run folder.
        source: the file that the editor wrote, or a folder of it unpacked.
        by: who corrected the masks.
        annotator: of several annotators of an image in Label Studio, the e-mail address or number of the one to use;
            by default the latest annotation.
        empty: take images without any annotation as background in ``cvat``, whose exports do not distinguish them from
            images nobody looked at; by default they are left as they are.
        overwrite: import also where a mask was corrected in the run, or generated again, after the export.
        dry_run: write nothing.
        progress: progress display.

    Raises:
        DataError: a file that is damaged or of another run, label map or size; nothing is changed.
        RunFolderError: no run, one that is being written, or one that cannot be written.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    found = open_run(run, corrected=False)
    if any(is_alive(run / WORK, id) for id in workers(run / WORK)):
        raise RunFolderError(f"{run}: a process is still writing to this run; import when it has ended")
    module = import_module(f".{format}", __name__)
    options = Options(annotator, empty)
    with ExitStack() as stack:
        place = stack.enter_context(unpacked(source))
        stack.enter_context(_naming(source, place))
        edited: list[Edited] = list(module.read(place, found, options))
        if not edited:
            raise DataError(f"{source}: holds no masks of {module.NAME}; give the file or folder that it exported")
        history: dict[str, list[Correction]] = {}
        for correction in read_log(run):
            history.setdefault(correction.id, []).append(correction)
        images = _recognised(edited, found, source)
        if progress is not None:
            progress.start(len(edited), 0)
            stack.callback(progress.stop)
        changes, skipped = list[_Change](), list[tuple[str, str]]()
        unchanged = 0
        for item, (id, tag) in zip(edited, images, strict=True):
            if item.read is not None:
                decided = history.get(id, [])
                change, why = _change(item, id, tag, found, decided)
                if change is None:
                    unchanged += 1
                elif why and not overwrite:
                    skipped.append((id, why))
                else:
                    changes.append(change)
            if progress is not None:
                progress.step()
    changed = [change.id for change in changes]
    if changes and not dry_run:
        changed.clear()
        with CorrectionLog(run, found.names, found.palette, by) as log:
            for change in changes:
                try:
                    _decide(log, change, module.NAME)
                    changed.append(change.id)
                except ConflictError as error:
                    skipped.append((change.id, str(error)))
    without = sum(item.read is None for item in edited)
    return Imported(run, format, tuple(changed), unchanged, without, tuple(skipped), dry_run)


@contextmanager
def _naming(source: Path, place: Path) -> Iterator[None]:
    """Errors that name the file which was given, not where it was unpacked."""
    try:
        yield
    except DataError as error:
        text = str(error).replace(str(place), str(source))
        raise DataError(text if str(source) in text else f"{source}: {text}") from None


def _recognised(edited: Sequence[Edited], run: FinishedRun, source: Path) -> list[tuple[str, Tag]]:
    """Id and tag of each label map. Raises DataError if one has none or is of another run, or two are of one image."""
    ids = {image_digest(run.about, run.names, record.id): record.id for record in run.records}
    found: list[tuple[str, Tag]] = []
    first: dict[str, str] = {}
    for item in edited:
        tag = find_tag(item.name)
        if tag is None:
            raise DataError(
                f"{source}: {item.name} has no tag of wsss-seed in its name, as exported images have; remove it from "
                "the file"
            )
        id = ids.get(tag.image)
        if id is None:
            raise DataError(f"{source}: {item.name} was exported from another run than {run.path}; give that run")
        if id in first:
            raise DataError(f"{source}: {first[id]} and {item.name} are both masks of {id}; remove one from the file")
        first[id] = item.name
        found.append((id, tag))
    return found


def _change(
    item: Edited, id: str, tag: Tag, run: FinishedRun, decided: Sequence[Correction]
) -> tuple[_Change | None, str]:
    """The correction in an edited label map, None if it has none; and why it would overwrite something, if it would.

    Args:
        item: the label map.
        id: of the image.
        tag: of the label map.
        run: the run.
        decided: the decisions about the image.

    Raises DataError, or RunFolderError if a mask of the run cannot be read.
    """
    assert item.read is not None
    last = decided[-1] if decided else None
    own = mask_path(run.path, id, run.layout)
    try:
        current = read_labels(own if last is None or last.mask is None else run.path / mask_name(last.mask))
        before = _exported(own, tag, run, decided)
    except ImageError as error:
        raise RunFolderError(f"{error}; repair the run first") from None
    labels = item.read(current.shape, before)
    if labels.shape != current.shape:
        sizes = " but ".join(f"{shape[1]} x {shape[0]}" for shape in (labels.shape, current.shape))
        raise DataError(f"{item.name}: {sizes} pixels in the run; import masks in the size of the images")
    if np.array_equal(labels, current) or (before is not None and np.array_equal(labels, before)):
        return None, ""
    why = ""
    if last is not None and last.revision != tag.revision:
        why = f"reviewed since the export{f' by {last.by}' * bool(last.by)} ({last.what})"
    elif last is None and tag.revision:
        why = "the review that was exported is no longer in the log"
    elif before is None:
        why = "the mask of the run has changed since the export"
    return _Change(id, labels.shape, zlib.compress(labels.tobytes(), 1), last), why


def _exported(own: Path, tag: Tag, run: FinishedRun, decided: Sequence[Correction]) -> np.ndarray | None:
    """The label map as it was exported; None if the run no longer has it. Raises ImageError."""
    for correction in reversed(decided):
        if correction.mask is not None and state_of(correction.mask) == tag.state:
            return read_labels(run.path / mask_name(correction.mask))
    try:
        digest = Stamp.of(own).sha256
    except OSError as error:
        raise ImageError(f"{own}: cannot be read ({error.strerror or error})") from None
    return read_labels(own) if state_of(digest) == tag.state else None


def _decide(log: CorrectionLog, change: _Change, editor: str) -> None:
    last = change.last
    log.decide(
        change.id,
        revision=0 if last is None else last.revision,
        verdict="open" if last is None else last.verdict,
        labels=change.labels,
        what=f"imported from {editor}",
    )
