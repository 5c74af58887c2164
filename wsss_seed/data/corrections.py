"""Corrections: verdicts on the masks of a run and corrected masks, as a layer beside them.

::

    OUT/Corrections/log.jsonl              one line per decision; the last one of an image holds
    OUT/Corrections/Masks/3f/<sha256>.png  corrected label maps, named by their content

The masks of the run and the corrected ones are never changed, so every earlier state of an image can be restored. The
readers of a run use its corrected masks and leave out rejected images, unless asked for the run as it was generated.

A decision holds for the mask on which it was made. If that has been generated again since, or edited by another
program, then accepting or rejecting it no longer counts; a corrected mask stays in use, unless its photograph was
replaced. Both are listed as ``outdated``.

State after a kill at each step of ``CorrectionLog.decide``:

1. The corrected mask is written under the name of its content. No decision refers to it.
2. Its line is appended. A kill leaves the whole line or a part without a newline, which readers ignore and the next
   decision cuts off.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, cast, get_args

import msgspec
import numpy as np

from ..errors import RunFolderError, UsageError, WsssError, unknown_name
from ..io.files import write_bytes
from ..io.lock import Lock
from ..io.png import mask_bytes
from ..io.source import Location, SomeLocation
from ..io.stamp import Stamp
from ..io.text import counted
from .classes import IGNORE, read_names
from .ids import check_id
from .images import image_size, read_labels
from .voc_layout import CLASSES, Layout, layout_of, mask_path

CORRECTIONS, LOG = "Corrections", "log.jsonl"

Verdict = Literal["open", "accepted", "rejected"]

_WAIT = 10.0  # seconds for another process to write its line
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Correction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision about the mask of an image.

    Attributes:
        id: of the image.
        revision: number of the decision on this image, from 1.
        verdict: whether the image is accepted, rejected or still to be judged.
        mask: SHA-256 of the file of the corrected label map; None if the run's own mask holds.
        base: SHA-256 of the run's mask on which the decision was made.
        classes: digest of the class names.
        what: what was done, in words.
        by: who did it.
        at: time in seconds since 1970.
    """

    id: str
    revision: Annotated[int, msgspec.Meta(ge=1)]
    verdict: Verdict = "open"
    mask: _Digest | None = None
    base: _Digest | None = None
    classes: str = ""
    what: str = ""
    by: str = ""
    at: float = 0.0


class ConflictError(RunFolderError):
    """Somebody else has reviewed the image in the meantime.

    Attributes:
        current: the decision that holds; None if there is none any more.
    """

    def __init__(self, message: str, current: Correction | None) -> None:
        super().__init__(message)
        self.current = current


class Corrections(Mapping[str, Correction]):
    """The decisions that hold in a run folder, by id; those without a verdict and a mask are left out.

    Args:
        run: the run folder; one without corrections, or a folder of another kind, has none.

    Raises:
        RunFolderError: the log is damaged, or was made for other classes.
    """

    def __init__(self, run: Location) -> None:
        self.run, self.layout = run, layout_of(run)
        found = {correction.id: correction for correction in read_log(run)}
        self.revisions = {id: c.revision for id, c in found.items()}
        """Number of decisions about each image, those that were taken back included."""
        self._held = {id: c for id, c in found.items() if c.verdict != "open" or c.mask is not None}
        bases = {id: _digest(mask_path(run, id, self.layout)) for id in self._held}
        self.outdated = tuple(id for id, c in self._held.items() if c.base is not None and bases[id] != c.base)
        """Ids of decisions whose mask of the run has changed since."""
        stale = self._stale = frozenset(self.outdated)
        self.rejected = frozenset(id for id, c in self._held.items() if c.verdict == "rejected" and id not in stale)
        """Ids of rejected images."""
        self.reviewed = frozenset(
            id
            for id, c in self._held.items()
            if c.mask is not None or (c.verdict == "accepted" and id not in stale)
            if id not in self.rejected
        )
        """Ids of images whose mask a person has accepted or corrected."""

    def __getitem__(self, id: str) -> Correction:
        return self._held[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def name(self, id: str) -> str | None:
        """Path of the corrected label map of an id, relative to the run folder; None if the run's own mask holds."""
        found = self._held.get(id)
        return None if found is None or found.mask is None else mask_name(found.mask)

    def mask(self, id: str, own: SomeLocation) -> SomeLocation:
        """Path of the label map in use.

        Args:
            id: of the image.
            own: path of the run's own mask.
        """
        name = self.name(id)
        return own if name is None else cast(SomeLocation, self.run / name)

    def decided(self, id: str) -> np.ndarray | None:
        """The pixels whose label a person decided, bool (H, W): those they changed, and all of an accepted image.

        None if there are none. Raises ImageError if a mask cannot be read.
        """
        if id not in self.reviewed:
            return None
        own = mask_path(self.run, id, self.layout)
        before, after = read_labels(own), read_labels(self.mask(id, own))
        if self._is_accepted(id) or before.shape != after.shape:
            return np.ones(after.shape, bool)
        return np.asarray(before != after)

    def _is_accepted(self, id: str) -> bool:
        return self._held[id].verdict == "accepted" and id not in self._stale

    def confidence(self, id: str, confidence: np.ndarray) -> np.ndarray:
        """Confidence of the label map in use, uint8 (H, W): 255 where a person decided, else that of the run.

        Args:
            id: of the image.
            confidence: uint8 (H, W), the confidence of the run.

        Raises ImageError if a mask cannot be read.
        """
        decided = self.decided(id)
        if decided is None or decided.shape != confidence.shape:
            return confidence
        return np.where(decided, np.uint8(255), confidence)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Id and what is wrong with its corrected mask, for each that cannot be used."""
        for id, correction in self._held.items():
            if correction.mask is None:
                continue
            path = self.run / mask_name(correction.mask)
            found = _digest(path)
            if found is None:
                yield id, f"its corrected mask is missing ({path})"
            elif found != correction.mask:
                yield id, f"its corrected mask was changed by another program ({path})"

    @property
    def summary(self) -> str:
        """Numbers of decisions in one line; empty without corrections."""
        accepted = sum(self._is_accepted(id) for id in self._held)
        corrected = sum(c.mask is not None for c in self._held.values())
        counts = {"accepted": accepted, "with a corrected mask": corrected, "rejected": len(self.rejected)}
        return ", ".join(f"{count} {what}" for what, count in counts.items()) if self._held else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Rejected and outdated images, for messages."""
        parts = []
        if self.rejected:
            verb = "was" if len(self.rejected) == 1 else "were"
            parts.append(f"{counted(len(self.rejected), 'image')} rejected in review {verb} left out")
        if self.outdated:
            parts.append(
                f"{counted(len(self.outdated), 'image')}, such as {self.outdated[0]}: the mask of the run has changed "
                "since the review; review again"
            )
        return tuple(parts)


def mask_name(digest: str) -> str:
    """Path of a corrected label map, relative to the run folder, by the SHA-256 of its content."""
    return f"{CORRECTIONS}/Masks/{digest[:2]}/{digest}.png"


def class_digest(names: Sequence[str]) -> str:
    """Digest of class names, background first."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def read_log(run: Location) -> Iterator[Correction]:
    """All decisions in a run folder, in their order; a last line that is incomplete is left out.

    Raises RunFolderError if a line is damaged, or the decisions were made for other classes.
    """
    path = run / CORRECTIONS / LOG
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror or error})") from None
    classes = run / CLASSES
    digest = class_digest(read_names(classes)) if classes.exists() else ""
    yield from _decoded(path, data[: data.rfind(b"\n") + 1].splitlines(), 1, digest)


def _decoded(path: Location, lines: Iterable[bytes], first: int, classes: str) -> Iterator[Correction]:
    for number, line in enumerate(lines, first):
        try:
            correction = msgspec.json.decode(line, type=Correction)
            check_id(correction.id)
        except (msgspec.MsgspecError, ValueError, RecursionError, WsssError):
            raise RunFolderError(
                f"{path}, line {number}: damaged; restore the file from a copy, or remove this line to lose this "
                "decision only"
            ) from None
        if classes and correction.classes and correction.classes != classes:
            raise RunFolderError(
                f"{path}: made for other classes than those of the run; move the folder {CORRECTIONS} away, or "
                "generate with the classes it was made for"
            )
        yield correction


def _conflict(id: str, current: Correction | None) -> ConflictError:
    if current is None:
        return ConflictError(f"{id}: its earlier decisions are no longer in the log; load it again", None)
    return ConflictError(
        f"{id}: {current.by or 'somebody'} has changed it in the meantime ({current.what}); nothing was saved",
        current,
    )


class CorrectionLog:
    """The corrections of a run folder, open for decisions. Use as a context manager.

    Any number of processes and threads may have it open: each decision names the revision it was based on, and is
    refused if there is a newer one. On file systems without locks only one process should write.

    Args:
        run: the run folder.
        names: names of its label maps, background first.
        palette: 256 RGB colours of the label maps.
        by: who decides.

    Raises:
        RunFolderError: the folder cannot be written, or like ``read_log``.
    """

    def __init__(self, run: Path, names: Sequence[str], palette: Sequence[tuple[int, int, int]], by: str = "") -> None:
        self.run, self.names, self.by = run, tuple(names), by
        self.layout: Layout = layout_of(run)
        self._palette, self._classes = palette, class_digest(names)
        self._path = run / CORRECTIONS / LOG
        self._held: dict[str, list[Correction]] = {}
        self._order: list[str] = []
        self._read, self._lines = 0, 0
        self._thread = threading.RLock()
        for folder in (run / CORRECTIONS, run / CORRECTIONS / "Masks"):
            if folder.is_symlink():
                raise RunFolderError(f"{folder}: a link, which is not followed; remove it")
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._lock = Lock(self._path)
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror or error})") from None
        try:
            self.refresh()
        except BaseException:
            self._lock.close()
            raise

    def refresh(self) -> None:
        """Read what others have decided since. Raises RunFolderError."""
        with self._thread:
            try:
                with open(self._path, "rb") as file:
                    if file.seek(0, os.SEEK_END) < self._read:  # an older copy was put in its place
                        self._held, self._order, self._read, self._lines = {}, [], 0, 0
                    file.seek(self._read)
                    data = file.read()
            except OSError as error:
                raise RunFolderError(f"{self._path}: cannot be read ({error.strerror or error})") from None
            whole = data[: data.rfind(b"\n") + 1]
            lines = whole.splitlines()
            added = tuple(_decoded(self._path, lines, self._lines + 1, self._classes))  # all or none
            for correction in added:
                self._held.setdefault(correction.id, []).append(correction)
                self._order.append(correction.id)
            self._read += len(whole)
            self._lines += len(lines)

    def history(self, id: str) -> tuple[Correction, ...]:
        """The decisions about an image, first to last."""
        with self._thread:
            return tuple(self._held.get(id, ()))

    def decided_since(self, count: int) -> tuple[int, frozenset[str]]:
        """The number of decisions, and the ids of those after the first ``count``; all if there are fewer by now."""
        with self._thread:
            start = count if count <= len(self._order) else 0
            return len(self._order), frozenset(self._order[start:])

    def own_digest(self, id: str) -> str | None:
        """SHA-256 of the run's own mask; None if there is none."""
        return _digest(mask_path(self.run, id, self.layout))

    def latest(self, id: str) -> Correction | None:
        """The last decision about an image; None without any."""
        with self._thread:
            history = self._held.get(id)
            return history[-1] if history else None

    def decide(
        self,
        id: str,
        *,
        revision: int,
        verdict: Verdict,
        labels: np.ndarray | None = None,
        mask: str | None = None,
        seen: str | None = None,
        what: str,
        by: str | None = None,
    ) -> Correction:
        """Record a decision about an image.

        Args:
            id: of the image.
            revision: of the decision that this one is based on; 0 if there was none.
            verdict: whether the image is accepted, rejected or still to be judged.
            labels: the corrected label map, uint8 (H, W).
            mask: instead, SHA-256 of a corrected label map of an earlier decision; with neither, the run's own mask
                holds.
            seen: SHA-256 of the run's mask that was looked at; None for whichever is there now.
            what: what was done, in words.
            by: who did it; None for whoever opened the log.

        Raises:
            ConflictError: there is a newer decision, or the run's mask is not the one that was looked at; nothing is
                changed.
            RunFolderError: the run has no mask of this id, or one of another size; labels that are not classes of the
                run; or the folder cannot be written.
            ImageError: the run's mask is damaged.
            DataError: the id is invalid.
            UsageError: an unknown verdict, or text that cannot be written.
        """
        if verdict not in get_args(Verdict):
            raise unknown_name("verdict", verdict, get_args(Verdict))
        own = mask_path(self.run, check_id(id), self.layout)
        base = _digest(own)
        if base is None:
            raise RunFolderError(f"{id}: no mask of the run to correct ({own})")
        if seen is not None and seen != base:
            raise ConflictError(
                f"{id}: the mask of the run was changed by another program in the meantime; nothing was changed",
                self.latest(id),
            )
        try:
            if labels is not None:
                self._check(id, labels, own)
                data = mask_bytes(labels, self._palette)
                mask = hashlib.sha256(data).hexdigest()
                if mask == base:
                    mask = None  # nothing was changed
                elif _digest(path := self.run / mask_name(mask)) != mask:  # missing, or damaged by another program
                    write_bytes(path, data)
        except OSError as error:
            raise self._unwritable(error) from None
        return self._append(
            Correction(
                id=id,
                revision=revision + 1,
                verdict=verdict,
                mask=mask,
                base=base,
                classes=self._classes,
                what=what,
                by=self.by if by is None else by,
                at=round(time.time(), 3),
            )
        )

    def reopen(self, ids: Iterable[str], what: str) -> tuple[str, ...]:
        """Let the run's own masks hold again; earlier decisions stay in the log. Returns the ids this changed.

        Args:
            ids: of images, which need not have decisions.
            what: why, in words.

        Raises:
            RunFolderError: the folder cannot be written.
        """
        return tuple(id for id in ids if self._reopen(id, what))

    def _reopen(self, id: str, what: str) -> bool:
        while (last := self.latest(id)) is not None and (last.verdict != "open" or last.mask is not None):
            now = round(time.time(), 3)
            try:
                self._append(Correction(id, last.revision + 1, classes=self._classes, what=what, by=self.by, at=now))
            except ConflictError:  # somebody has decided in between, which this undoes too
                continue
            return True
        return False

    def _unwritable(self, error: OSError) -> RunFolderError:
        reason = error.strerror or error
        return RunFolderError(f"{self.run / CORRECTIONS}: cannot be written ({reason}); nothing was changed")

    def labels(self, id: str) -> np.ndarray:
        """The label map in use, uint8 (H, W). Raises ImageError if it cannot be read."""
        latest = self.latest(id)
        if latest is not None and latest.mask is not None:
            return read_labels(self.run / mask_name(latest.mask))
        return read_labels(mask_path(self.run, id, self.layout))

    def _check(self, id: str, labels: np.ndarray, own: Path) -> None:
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise RunFolderError(f"{id}: a label map is uint8 (H, W), not {labels.dtype} {labels.shape}")
        size = image_size(own)
        if labels.shape[::-1] != size:
            raise RunFolderError(
                f"{id}: {labels.shape[1]} x {labels.shape[0]} pixels, but the mask of the run has {size[0]} x {size[1]}"
            )
        counts = np.bincount(labels.ravel(), minlength=256)
        beyond = np.flatnonzero(counts[len(self.names) : IGNORE])
        if beyond.size:
            raise RunFolderError(
                f"{id}: the value {len(self.names) + beyond[0]}, but the run has {len(self.names)} classes with the "
                "background"
            )

    def _append(self, correction: Correction) -> Correction:
        try:
            line = msgspec.json.encode(correction) + b"\n"
            msgspec.json.decode(line, type=Correction)  # a line that cannot be read would make the whole log unreadable
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise UsageError(f"{correction.id}: not a decision that can be written ({error})") from None
        with self._thread:
            try:
                if not self._lock.take(shared=False, wait=_WAIT):
                    raise RunFolderError(f"{self._path}: another process is writing to it; try again")
                try:
                    self.refresh()
                    current = self.latest(correction.id)
                    if (0 if current is None else current.revision) != correction.revision - 1:
                        raise _conflict(correction.id, current)
                    with open(self._path, "r+b") as file:
                        file.truncate(self._read)  # an incomplete line of a process that was killed
                        file.seek(self._read)
                        file.write(line)
                        file.flush()
                        os.fsync(file.fileno())
                    self.refresh()
                finally:
                    self._lock.release()
            except OSError as error:
                raise self._unwritable(error) from None
        return correction

    def close(self) -> None:
        """Close the log."""
        self._lock.close()

    def __enter__(self) -> CorrectionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reopen(
    run: Path, names: Sequence[str], palette: Sequence[tuple[int, int, int]], ids: Iterable[str], what: str
) -> None:
    """``CorrectionLog.reopen`` of a run folder that may have no corrections."""
    if (run / CORRECTIONS / LOG).exists():
        with CorrectionLog(run, names, palette) as log:
            log.reopen(ids, what)


def _digest(path: Location) -> str | None:
    """SHA-256 of a file; None if there is none."""
    try:
        return Stamp.of(path).sha256
    except OSError:
        return None
