"""The run folder: a dataset in VOC layout with the record of how it was made.

::

    OUT/SegmentationClass/<id>.png            label maps
    OUT/Confidence/<id>.png                   confidence, 0..255
    OUT/JPEGImages/<id>.jpg                   links to the images, or PNG copies of what the seeder saw
    OUT/ImageSets/Segmentation/<split>.txt    ids of the images that have a mask
    OUT/classes.txt                           one name a line, background first
    OUT/manifest.jsonl                        a line an image
    OUT/run.json                              settings, versions, totals
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import Image

from .. import __version__
from ..data.base import Sample
from ..data.classes import IGNORE, ClassSet
from ..errors import WsssError
from .files import is_part, plain, put_in_place, remove_parts, write_bytes, write_json, write_text
from .lock import Lock
from .manifest import Appender, Record, compact, manifest_files, read_manifest, shard_file
from .masks import write_confidence, write_mask, write_rgb

if TYPE_CHECKING:
    from ..seeding.base import Seed

CONTRACT = 1
"""Version of the layout above; it changes when an old reader would misread a new folder."""

MASKS, CONFIDENCE, IMAGES, LISTS = "SegmentationClass", "Confidence", "JPEGImages", "ImageSets"
RUN, CLASSES, LOCK = "run.json", "classes.txt", ".lock"

LOCK_WAIT = 5.0
"""Seconds to wait for another process to open or close the folder."""

_NAME_TROUBLE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS}


class RunFolder:
    """A run folder held by one process, or by one process for each shard. Use as a context manager.

    Opening it checks that it is new or a run with the same settings, and that nobody else is at the same work.
    ``save`` and ``fail`` may be called from threads.

    Args:
        path: the folder; made if it is missing.
        class_set: names and palette of the label maps.
        settings: everything that determines the masks, as JSON values; another run's must be equal.
        about: further facts for ``run.json`` (versions, weight hashes), not compared.
        split: name of the list file.
        shard: which of how many equal parts this process does, from 0.
        overwrite: start a run folder again. A shard starts again its own part only, unless the settings differ.

    Raises:
        WsssError: the folder belongs to something else or cannot be written; the message says what to do.
    """

    def __init__(
        self,
        path: Path,
        class_set: ClassSet,
        settings: Mapping[str, Any],
        *,
        about: Mapping[str, Any] | None = None,
        split: str = "all",
        shard: tuple[int, int] = (0, 1),
        overwrite: bool = False,
    ) -> None:
        self.path = path
        self.class_set = class_set
        self.split = split
        self.shard = shard
        self._palette = class_set.palette
        self._settings = plain(settings)
        self._fingerprint = fingerprint(self._settings)
        self._alone = shard[1] == 1
        try:
            _refuse_foreign(path)
            path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(path / LOCK)
            try:
                self._open(dict(about or {}), overwrite)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise write_error(path, error) from error

    def _open(self, about: dict[str, Any], overwrite: bool) -> None:
        if not self._alone and not self._lock.works():
            raise WsssError(f"{self.path}: this file system has no locks, which --shard needs; use a folder per shard")
        # Shards start when nobody is there or beside other shards; a whole run only when nobody is there.
        nobody_else = self._lock.take(shared=False, wait=LOCK_WAIT if self._alone else 0.0)
        if not nobody_else and (self._alone or not self._lock.take(shared=True, wait=LOCK_WAIT)):
            raise WsssError(f"{self.path}: another process is writing to this run; let it end or choose another --out")
        _refuse_foreign(self.path)
        former = read_run(self.path)
        new = former is None
        if former is not None:
            difference = settings_difference(former.get("settings"), self._settings)
            if difference and not overwrite:
                raise WsssError(
                    f"{self.path}: this run was made with other settings: {difference}; "
                    "use --overwrite to start it again, or another --out"
                )
            if difference and not nobody_else:
                raise WsssError(
                    f"{self.path}: other shards are writing with other settings: {difference}; "
                    "let them end or choose another --out"
                )
            if overwrite and (difference or self._alone):
                self._clear()
                new = True
        if nobody_else:
            remove_parts([self.path])
        if new:
            write_json(self.path / RUN, self._description(about))
        if new or not (self.path / CLASSES).exists():
            write_text(self.path / CLASSES, "".join(f"{name}\n" for name in ("background", *self.class_set.names)))
        if nobody_else and not self._alone and not self._lock.take(shared=True, wait=LOCK_WAIT):
            raise WsssError(f"{self.path}: another process is writing to this run; let it end or choose another --out")
        part = self.path / shard_file(self.shard)
        self._part_lock = None if self._alone else Lock(part)
        if self._part_lock is not None and not self._part_lock.take(shared=False):
            self._part_lock.close()
            index, count = self.shard
            raise WsssError(f"{self.path}: another process is doing shard {index + 1}/{count}; let it end")
        self._appender = Appender(part)

    def _description(self, about: Mapping[str, Any]) -> dict[str, Any]:
        versions = {
            "wsss_seed": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        }
        return {
            "contract": CONTRACT,
            "settings": self._settings,
            **about,
            "versions": versions | dict(about.get("versions", {})),
            "started": _now(),
            "finished": None,
            "totals": None,
        }

    def _clear(self) -> None:
        """Remove what a run has written, and nothing else; ``run.json`` stays, so that a kill leaves a run folder."""
        for path in manifest_files(self.path):  # first of all, for what it lists has to be there
            path.unlink(missing_ok=True)
        for name in (MASKS, CONFIDENCE, IMAGES, LISTS):
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)
        (self.path / CLASSES).unlink(missing_ok=True)

    def finished(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids whose mask was made with these settings and is on disk as it was written."""
        records = read_manifest(self.path)
        return {name for name in ids if name in records and self._is_finished(records[name])}

    def _is_finished(self, record: Record) -> bool:
        if record.status != "ok" or record.settings != self._fingerprint:
            return False
        if not (confidence_path(self.path, record.id).exists() and os.path.lexists(image_path(self.path, record.id))):
            return False
        try:
            return hashlib.sha256(mask_path(self.path, record.id).read_bytes()).hexdigest() == record.sha256
        except OSError:
            return False

    def save(self, sample: Sample, image: np.ndarray, seed: Seed, seconds: float) -> Record:
        """Write a seed: image link, confidence, mask, and last the line that says it is finished.

        An id the file system cannot hold becomes a failed record. Raises OSError where the folder takes no more.
        """
        try:
            place_image(image_path(self.path, sample.id), sample.image, image)
            write_confidence(confidence_path(self.path, sample.id), seed.confidence)
            digest = write_mask(mask_path(self.path, sample.id), seed.labels, self._palette)
        except OSError as error:
            if error.errno not in _NAME_TROUBLE:
                raise
            return self.fail(sample, f"{sample.id}: the file system cannot hold this id ({error.strerror})", seconds)
        counts = np.bincount(seed.labels.ravel(), minlength=256)
        names = ("background", *self.class_set.names)
        height, width = seed.labels.shape
        record = Record(
            id=sample.id,
            status="ok",
            present=tuple(names[index + 1] for index in seed.present),
            scores={names[index + 1]: round(float(score), 6) for index, score in seed.scores.items()},
            size=(width, height),
            pixels={name: int(counts[value]) for value, name in enumerate(names) if counts[value]},
            ignore=round(float(counts[IGNORE]) / seed.labels.size, 6),
            seconds=round(seconds, 4),
            notes=tuple(seed.notes),
            evidence=plain(seed.evidence),
            sha256=digest,
            settings=self._fingerprint,
            finished=round(time.time(), 3),
        )
        self._appender.append(record)
        return record

    def fail(self, sample: Sample, error: str, seconds: float) -> Record:
        """Record that an image has no seed, and remove a mask that an earlier run left for it. Raises OSError."""
        record = Record(
            id=sample.id,
            status="failed",
            seconds=round(seconds, 4),
            error=" ".join(error.split()),
            settings=self._fingerprint,
            finished=round(time.time(), 3),
        )
        for path in (mask_path(self.path, sample.id), confidence_path(self.path, sample.id)):
            try:
                path.unlink(missing_ok=True)
            except OSError as trouble:
                if trouble.errno not in _NAME_TROUBLE:
                    raise
        self._appender.append(record)
        return record

    def conclude(self, order: Sequence[str]) -> bool:
        """Bring manifest, list and totals up to date, in the dataset's order; ``order`` is every id of the dataset.

        Of several shards only the last to end does so; for the others this returns False. Raises OSError.
        """
        self._appender.close()
        if not self._alone:
            # Let go before asking: of two shards that end together the later to ask finds the lock free, and all lines.
            self._release_part()
            self._lock.release()
            if not self._lock.take(shared=False, wait=1.0):
                return False
        remove_parts([self.path])
        place = {name: index for index, name in enumerate(order)}
        records = [record for record in read_manifest(self.path).values() if record.settings == self._fingerprint]
        records.sort(key=lambda record: (place.get(record.id, len(place)), record.id))
        compact(self.path, records)
        done = [record for record in records if record.status == "ok"]
        write_text(
            self.path / LISTS / "Segmentation" / f"{self.split}.txt", "".join(f"{record.id}\n" for record in done)
        )
        totals = _totals(records) | {"images": len(order)}
        write_json(self.path / RUN, (read_run(self.path) or {}) | {"finished": _now(), "totals": totals})
        return True

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._appender.close()
        self._release_part()
        self._lock.close()

    def _release_part(self) -> None:
        if self._part_lock is not None:
            self._part_lock.close()
            self._part_lock = None


def conclude(path: Path, class_set: ClassSet, split: str, order: Sequence[str]) -> bool:
    """Bring up to date what shards left that did not come to their end; see ``RunFolder.conclude``.

    False where there is nothing yet, or another process is writing to the folder and will do it.
    """
    run = read_run(path)
    if run is None:
        return False
    try:
        with RunFolder(path, class_set, run["settings"], split=split) as folder:
            return folder.conclude(order)
    except WsssError:
        return False


def mask_path(folder: Path, name: str) -> Path:
    """Where a run folder keeps the label map of an id."""
    return folder / MASKS / f"{name}.png"


def confidence_path(folder: Path, name: str) -> Path:
    """Where a run folder keeps the confidence map of an id."""
    return folder / CONFIDENCE / f"{name}.png"


def image_path(folder: Path, name: str) -> Path:
    """Where a run folder keeps the image of an id. VOC readers ask for ``.jpg``; decoders go by content."""
    return folder / IMAGES / f"{name}.jpg"


def place_image(path: Path, source: Path | None, image: np.ndarray) -> None:
    """Put an image into the run folder such that every reader sees the pixels the seeder saw.

    A plain RGB or grey file is linked. What was drawn, turned by its EXIF orientation or converted from something else
    is written as a PNG, for readers differ in what they make of such files.

    Args:
        path: where the image is to stand; a link there is replaced, not followed.
        source: the image file, None if there is none.
        image: uint8 (H, W, 3) as the seeder saw it.

    Raises OSError.
    """
    if source is None or not _read_alike(source, image):
        write_rgb(path, image)
        return
    target = os.path.abspath(source)
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for link in (os.symlink, os.link):
        try:
            put_in_place(path, partial(link, target))
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    write_bytes(path, Path(target).read_bytes())


def _read_alike(source: Path, image: np.ndarray) -> bool:
    try:
        with Image.open(source) as file:
            return (
                file.mode in ("RGB", "L")
                and file.size == (image.shape[1], image.shape[0])
                and "transparency" not in file.info
                and (file.format == "MPO" or not getattr(file, "is_animated", False))
                and file.getexif().get(0x0112, 1) in (0, 1)  # orientation
            )
    except Exception:  # whatever Pillow raises: what cannot be opened plainly is not linked
        return False


def write_error(path: Path, error: OSError) -> WsssError:
    """What a user is told when the folder takes no more."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        why = {errno.EFBIG: "a file grew beyond the allowed size"}.get(error.errno, "no space left")
        return WsssError(f"{path}: {why}; what is finished stays: make room and give the same command again")
    reason = error.strerror or str(error)
    return WsssError(f"{path}: cannot be written ({reason}); choose another --out or make it writable")


def _refuse_foreign(path: Path) -> None:
    """Refuse what is neither missing, nor empty, nor a run folder."""
    if path.exists() and not path.is_dir():
        raise WsssError(f"{path}: not a folder; choose another --out")
    if not path.is_dir():
        return
    others = any(entry.name != LOCK and not is_part(entry) for entry in path.iterdir())
    if others and not (path / RUN).exists():  # asked last: another shard may just be making the folder
        raise WsssError(f"{path}: not empty and not a run folder; choose another --out")


def read_run(path: Path) -> dict[str, Any] | None:
    """What ``run.json`` says, None where there is none.

    Raises WsssError for one that is damaged or of another layout.
    """
    file = path / RUN
    try:
        run = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        run = None
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
        raise WsssError(f"{file}: not readable as the settings of a run; remove the folder or choose another --out")
    if run.get("contract") != CONTRACT:
        raise WsssError(
            f"{file}: written by another version of wsss-seed (layout {run.get('contract')}, here {CONTRACT}); "
            "choose another --out"
        )
    return run


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def settings_difference(old: Any, new: Any, most: int = 8) -> str:
    """``key old -> new`` for each setting that differs; empty where none does."""
    before, after = _flat(old), _flat(new)
    keys = [key for key in {**before, **after} if before.get(key, _UNSET) != after.get(key, _UNSET)]
    parts = [f"{key} {_short(before.get(key, _UNSET))} -> {_short(after.get(key, _UNSET))}" for key in keys[:most]]
    return ", ".join([*parts, *([f"and {len(keys) - most} more"] if len(keys) > most else [])])


_UNSET = object()


def _short(value: Any) -> str:
    text = "unset" if value is _UNSET else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fingerprint(settings: Mapping[str, Any]) -> str:
    """What records keep of the settings that made a mask."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _totals(records: Sequence[Record]) -> dict[str, Any]:
    done = [record for record in records if record.status == "ok"]
    present = Counter(name for record in done for name in record.present)
    pixels: Counter[str] = Counter()
    for record in done:
        pixels.update(record.pixels)
    area = sum(record.size[0] * record.size[1] for record in done if record.size)
    return {
        "ok": len(done),
        "failed": len(records) - len(done),
        "seconds": round(sum(record.seconds for record in records), 3),
        "images_with_class": dict(sorted(present.items())),
        "pixels": dict(sorted(pixels.items())),
        "ignore": round(1 - sum(pixels.values()) / area, 6) if area else None,
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
