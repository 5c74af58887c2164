"""The run under review: its images in order of doubt, what is known about each, and the decisions about them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..data.classes import IGNORE, read_names, voc_palette
from ..data.corrections import Correction, CorrectionLog, Verdict, mask_name, read_log
from ..data.images import image_size, read_labels, read_rgb
from ..data.voc_layout import CLASSES, layout_of_run
from ..errors import ImageError, RunFolderError, UsageError
from ..output.finished import palette_of
from ..output.manifest import Manifest, Outline, Record, manifest_files
from ..output.report.evidence import missed
from ..output.run_folder import confidence_path, existing_run, fingerprint, image_path, mask_path
from ..output.worst import doubt
from ..run.explain import evidence_of

Order = Literal["doubt", "ignore", "run", "id"]
State = Literal["all", "open", "reviewed", "accepted", "rejected", "corrected", "outdated", "failed"]
STATES: tuple[State, ...] = get_args(State)

OWN = "own"
"""Stands for the run's own mask where the SHA-256 of a corrected one can stand."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in the list.

    Attributes:
        id: of the image.
        doubt: how much suggests that the mask is wrong; see ``output.worst.doubt``.
        ignore: share of ignored pixels.
        classes: labels with a pixel in the run's own mask.
        notes: notes of the run about the image.
        error: why the image has no mask; empty if it has one.
    """

    id: str
    doubt: float
    ignore: float
    classes: tuple[int, ...]
    notes: tuple[str, ...]
    error: str


@dataclass(frozen=True)
class Query:
    """What the list shows.

    Attributes:
        order: most doubtful first, most ignored pixels first, in the order of the run, or by id.
        state: only images in this state.
        label: only images with this class in the run's mask; None for all.
        note: only images with this note; empty for all.
        name: only images whose id contains this text.
    """

    order: Order = "doubt"
    state: State = "all"
    label: int | None = None
    note: str = ""
    name: str = ""


@dataclass(frozen=True)
class Standing:
    """The state of the review of an image.

    Attributes:
        revision: of the last decision; 0 without any.
        verdict: of the last decision.
        mask: SHA-256 of the corrected mask in use; None for the run's own.
        outdated: whether the run's mask has changed since the decision.
        by: who decided.
    """

    revision: int = 0
    verdict: Verdict = "open"
    mask: str | None = None
    outdated: bool = False
    by: str = ""

    def is_in(self, state: State) -> bool:
        """Whether a list of images in this state has the image."""
        if state == "all":
            return True
        if state == "outdated":
            return self.outdated
        if state == "corrected":
            return self.mask is not None
        counts = self.verdict if not self.outdated else "open"  # as ``data.corrections`` counts
        if state in ("accepted", "rejected"):
            return counts == state
        reviewed = counts != "open" or self.mask is not None
        return reviewed if state == "reviewed" else state == "open" and not reviewed


class Session:
    """A run folder that is under review, perhaps while it is being written. Safe to use from several threads.

    Args:
        run: the run folder.
        by: who decides.
        other: another run with the same classes, from which masks can be copied.

    Raises:
        RunFolderError: not a run folder, one without masks, or one that cannot be written to.
        UsageError: the other run has other classes.
    """

    def __init__(self, run: Path, by: str = "", other: Path | None = None) -> None:
        self.run, self.about = run, existing_run(run)
        self.names, self.layout = read_names(run / CLASSES), layout_of_run(self.about)
        self.other = None if other is None else _Other(other, run, self.names)
        self._lock = threading.Lock()
        self._digests: dict[str, tuple[tuple[int, int], str | None]] = {}
        self._evidence = evidence_of(run)
        self._manifest: Manifest | None = None
        self._stamp: object = None
        self.entries: dict[str, Entry] = {}
        self.reload()
        first = next(
            (entry.id for entry in self.entries.values() if not entry.error and self._has_mask(entry.id)), None
        )
        if first is None:
            raise RunFolderError(f"{run}: no finished masks; run generate or predict first")
        try:
            self.palette = palette_of(mask_path(run, first, self.layout))
        except ImageError:
            self.palette = voc_palette()
        self.log = CorrectionLog(run, self.names, self.palette, by)
        self._start, _ = self.log.decided_since(0)

    def _has_mask(self, id: str) -> bool:
        return os.path.exists(mask_path(self.run, id, self.layout))

    def reload(self) -> None:
        """Read the manifest again if it has changed. Raises RunFolderError, also if the run has other classes now."""
        with self._lock:
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return
            about = existing_run(self.run)  # the run may have been started over
            if read_names(self.run / CLASSES) != self.names:
                raise RunFolderError(f"{self.run}: its classes have changed; start the review again")
            try:
                manifest = Manifest(self.run)
            except OSError as error:
                raise RunFolderError(f"{self.run}: its manifest cannot be read ({error.strerror})") from None
            label_of = {name: label for label, name in enumerate(self.names)}
            own, entries = fingerprint(about["settings"]), {}
            for outline in manifest.outlines():
                if outline.settings == own:
                    entries[outline.id] = _entry(outline, label_of, self.names)
            # The former manifest closes its files once the last request that reads it is over.
            self._manifest, self.entries, self._stamp = manifest, entries, stamp
            if about["settings"] != self.about["settings"]:
                self.about, self._evidence = about, evidence_of(self.run)

    def _stamp_now(self) -> object:
        found = []
        with suppress(OSError):
            for path in manifest_files(self.run):
                info = os.stat(str(path))
                found.append((path.name, info.st_size, info.st_mtime_ns, info.st_ino))
        return tuple(found)

    @property
    def has_grown(self) -> bool:
        """Whether the manifest has changed since it was read."""
        return self._stamp_now() != self._stamp

    def entry(self, id: str) -> Entry:
        """An image of the run. Raises UsageError for any other id, so that no id names a file elsewhere."""
        found = self.entries.get(id)
        if found is None:
            raise UsageError(f"{self.run}: has no image {id}")
        return found

    def standing(self, id: str) -> Standing:
        """The state of the review of an image."""
        last = self.log.latest(id)
        if last is None:
            return Standing()
        held = last.verdict != "open" or last.mask is not None
        outdated = held and last.base is not None and self.digest(id) != last.base
        return Standing(last.revision, last.verdict, last.mask, outdated, last.by)

    def digest(self, id: str) -> str | None:
        """SHA-256 of the run's own mask, computed again where size or time of the file have changed."""
        try:
            info = os.stat(mask_path(self.run, id, self.layout))
        except OSError:
            return None
        stamp = (info.st_size, info.st_mtime_ns)
        known = self._digests.get(id)
        if known is None or known[0] != stamp:
            known = self._digests[id] = stamp, self.log.own_digest(id)
        return known[1]

    def listed(self, query: Query) -> list[str]:
        """The ids that a query asks for, in its order."""
        entries: Iterable[Entry] = list(self.entries.values())
        if query.state == "failed":
            entries = (entry for entry in entries if entry.error)
        elif query.state != "all":
            entries = (e for e in entries if not e.error and self.standing(e.id).is_in(query.state))
        if query.label is not None:
            entries = (entry for entry in entries if query.label in entry.classes)
        if query.note:
            entries = (entry for entry in entries if query.note in entry.notes)
        if query.name:
            wanted = query.name.casefold()
            entries = (entry for entry in entries if wanted in entry.id.casefold())
        if query.order == "doubt":
            entries = sorted(entries, key=lambda e: (bool(e.error), -e.doubt, e.id))
        elif query.order == "ignore":
            entries = sorted(entries, key=lambda e: (bool(e.error), -e.ignore, e.id))
        elif query.order == "id":
            entries = sorted(entries, key=lambda e: e.id)
        return [entry.id for entry in entries]

    def counts(self) -> dict[str, int]:
        """Number of images in each state."""
        found: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        for entry in list(self.entries.values()):
            found["all"] += 1
            if entry.error:
                found["failed"] += 1
                continue
            standing = self.standing(entry.id)
            found.update(state for state in STATES[1:] if standing.is_in(state))
        return dict(found)

    def notes(self) -> list[tuple[str, int]]:
        """The notes of the run with the number of their images, most frequent first."""
        return Counter(note for entry in list(self.entries.values()) for note in entry.notes).most_common(100)

    def card(self, id: str) -> dict[str, Any]:
        """An image of the list, as JSON values."""
        entry = self.entry(id)
        return {
            "id": id,
            "doubt": round(entry.doubt, 3),
            "ignore": round(entry.ignore, 4),
            "classes": entry.classes,
            "notes": entry.notes,
            "error": entry.error,
            **vars(self.standing(id)),
        }

    def detail(self, id: str) -> dict[str, Any]:
        """All that is known about an image, as JSON values. Its pictures are read one by one.

        Raises ImageError if mask or image are missing, damaged, or of different sizes.
        """
        entry = self.entry(id)
        found = self.card(id)
        if entry.error:
            return found
        record = self._record(id)
        evidence = self._evidence(record)
        size = image_size(mask_path(self.run, id, self.layout))
        real = image_size(image_path(self.run, id, self.layout))
        if real != size:
            raise ImageError(f"{id}: the image has {real[0]} x {real[1]} pixels, its mask {size[0]} x {size[1]}")
        pixels = np.array([record.pixels.get(name, 0) for name in self.names])
        base = self.digest(id)
        return found | {
            "size": size,
            "base": base,
            "edited": record.mask is not None and record.mask.sha256 is not None and base != record.mask.sha256,
            "given": record.labels,
            "scores": {name: score for name, score in record.scores.items() if score is not None},
            "notes": [note for note in (*record.notes, evidence.note) if note],
            "boxes": [
                {
                    "cls": box.cls,
                    "box": [round(float(value), 1) for value in box.box],
                    "score": box.score,
                    "crop": box.crop,
                    "final": box.final,
                    "role": box.role,
                    "why": box.why,
                }
                for box in evidence.boxes
            ],
            "missed": [
                {"label": m.label, "source": m.source, "score": round(m.score, 3)}
                for m in missed(record, evidence.clip, self.names, pixels, None)
            ],
            "history": [_decision(correction) for correction in self.log.history(id)],
        }

    def _record(self, id: str) -> Record:
        assert self._manifest is not None
        try:
            return self._manifest[id]
        except (KeyError, ValueError, OSError):
            raise RunFolderError(f"{self.run}: the record of {id} has changed; reload the list") from None

    def image(self, id: str) -> np.ndarray:
        """The image, uint8 (H, W, 3) RGB, in the orientation of the mask. Raises ImageError."""
        self.entry(id)
        return read_rgb(image_path(self.run, id, self.layout))

    def image_stamp(self, id: str) -> str:
        """Changes whenever the file of the image does."""
        try:
            info = os.stat(image_path(self.run, self.entry(id).id, self.layout))
        except OSError:
            return "none"
        return f"{info.st_mtime_ns:x}-{info.st_size:x}"

    def labels(self, id: str, mask: str) -> tuple[np.ndarray, str]:
        """A label map of an image, uint8 (H, W), and its SHA-256.

        Args:
            id: of the image.
            mask: ``OWN`` for the run's, or the SHA-256 of one that a decision about this image refers to.

        Raises:
            ImageError: it cannot be read.
            UsageError: no decision about the image refers to such a mask.
        """
        self.entry(id)
        if mask != OWN:
            if mask not in {correction.mask for correction in self.log.history(id)}:
                raise UsageError(f"{id}: has no such mask")
            file = self.run / mask_name(mask)
            labels = read_labels(file)
            if hashlib.sha256(file.read_bytes()).hexdigest() != mask:
                raise ImageError(f"{file}: was changed by another program; restore it from a copy")
            return labels, mask
        path = mask_path(self.run, id, self.layout)
        for _ in range(3):  # it may be replaced in between
            before = self.log.own_digest(id)
            labels = read_labels(path)
            if before is not None and before == self.log.own_digest(id):
                return labels, before
        raise ImageError(f"{path}: is being written; open the image again")

    def confidence(self, id: str) -> np.ndarray:
        """The run's own confidence, uint8 (H, W). Raises ImageError."""
        self.entry(id)
        return read_labels(confidence_path(self.run, id, self.layout))

    def decide(
        self,
        id: str,
        *,
        revision: int,
        base: str,
        verdict: Verdict,
        labels: np.ndarray | None,
        mask: str | None,
        what: str,
        by: str | None,
    ) -> Correction:
        """Record a decision; see ``CorrectionLog.decide``. Raises UsageError for a mask of another image."""
        if self.entry(id).error:
            raise UsageError(f"{id}: failed, so there is no mask to judge; resume the run")
        if mask is not None and mask not in {correction.mask for correction in self.log.history(id)}:
            raise UsageError(f"{id}: has no such mask")
        return self.log.decide(
            id, revision=revision, verdict=verdict, labels=labels, mask=mask, seen=base, what=what, by=by
        )

    def summary(self) -> str:
        """The state of the review in one line."""
        self.log.refresh()
        counts = self.counts()
        now, _ = self.log.decided_since(0)
        parts = [f"{counts[state]} {state}" for state in ("accepted", "rejected", "corrected")]
        stale = f", {counts['outdated']} to review again" if counts["outdated"] else ""
        return f"{', '.join(parts)}, {counts['open']} open{stale} (decisions in this session: {now - self._start})"

    def close(self) -> None:
        """Close the log of decisions."""
        self.log.close()


class _Other:
    """Another run with the same classes, from which masks can be copied."""

    def __init__(self, path: Path, run: Path, names: Sequence[str]) -> None:
        about = existing_run(path)
        own = read_names(path / CLASSES)
        if tuple(own) != tuple(names):
            raise UsageError(
                f"{path}: has other classes than {run} ({', '.join(own[:8])}); give `other` a run with the same classes"
            )
        self.path, self._layout = path, layout_of_run(about)

    def labels(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Its label map of an image, corrected if it was, uint8 (H, W).

        Raises ImageError without one of this width and height, and RunFolderError if its corrections are damaged.
        """
        path = mask_path(self.path, id, self._layout)
        corrected = [correction.mask for correction in read_log(self.path) if correction.id == id][-1:]
        if corrected and corrected[0] is not None:
            path = self.path / mask_name(corrected[0])
        if not path.exists():
            raise ImageError(f"{self.path}: has no mask of {id}")
        labels = read_labels(path)
        if labels.shape[::-1] != size:
            height, width = labels.shape
            raise ImageError(f"{path}: {width} x {height} pixels, but the image has {size[0]} x {size[1]}")
        return labels


def _entry(outline: Outline, label_of: Mapping[str, int], names: Sequence[str]) -> Entry:
    if outline.status != "ok":
        return Entry(outline.id, 0.0, 0.0, (), outline.notes, outline.error or "failed")
    present = tuple(sorted(label_of[name] for name, count in outline.pixels.items() if count and name in label_of))
    ignore = outline.ignore or 0.0
    classes = (*present, IGNORE) if ignore else present
    return Entry(outline.id, doubt(outline, names), ignore, classes, outline.notes, "")


def _decision(correction: Correction) -> dict[str, Any]:
    keys = ("revision", "verdict", "mask", "base", "what", "by", "at")
    return {key: getattr(correction, key) for key in keys}


def iter_cards(session: Session, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The cards of those of these ids that the run still has."""
    for id in ids:
        if id in session.entries:
            yield session.card(id)
