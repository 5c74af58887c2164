"""The run folder: a dataset in VOC layout with a record of how it was generated.

::

    OUT/SegmentationClass/<id>.png            label maps
    OUT/Confidence/<id>.png                   confidence, 0..255
    OUT/JPEGImages/<id>.jpg                   links to the images, or PNG copies that match the label maps
    OUT/ImageSets/Segmentation/<split>.txt    ids of the images that have a mask
    OUT/classes.txt                           one name per line, background first
    OUT/manifest.jsonl                        one line per image
    OUT/run.json                              settings, versions, totals
    OUT/evaluation.json                       the last score against ground truth, if there was one
    OUT/README.md                             card: how the masks were made, and what they are not for
    OUT/ModelOutputs/<id>.st                  outputs of the models, if they were to be kept
    OUT/Corrections/                          decisions and corrected masks of people; see ``data.corrections``
    OUT/text_features.st                      CLIP's text features, likewise
    OUT/.work/                                plan, leases and new records while a run is in progress

In the layout ``nested`` the folders of images have subfolders; see ``data.voc_layout``.

On object storage there are no links: the manifest says where the images lie, and JPEGImages has drawn ones only.
Resuming trusts the manifest there: whether masks were edited or removed since is not looked at; ``verify`` does that.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np
import PIL

from .. import __version__
from ..data.base import Sample
from ..data.classes import IGNORE, ClassSet
from ..data.corrections import reopen
from ..data.images import reads_alike
from ..data.lazy import Texts
from ..data.orientation import Orientation
from ..data.samples import ids_of
from ..data.voc_layout import CLASSES, CONFIDENCE, IMAGES, LISTS, MASKS, RUN, Layout, file_name, layout_of_run
from ..data.voc_layout import mask_path as mask_path
from ..errors import RunFolderError, WsssError
from ..io.files import (
    NO_LINKS,
    atomic_replace,
    is_part,
    plain,
    remove_parts,
    remove_tree,
    write_bytes,
    write_json,
    write_lines,
    write_text,
)
from ..io.png import mask_bytes, write_confidence, write_rgb
from ..io.source import Location, SomeLocation, Source
from ..io.stamp import Stamp
from .dataset_card import README, is_ours, read_card, run_card, write_card
from .leases import Leases, Worker, read_about
from .manifest import (
    MANIFEST,
    WORK,
    Appender,
    Count,
    Manifest,
    Record,
    compact,
    error_text,
    manifest_files,
    part_file,
    part_files,
)
from .object_appender import ObjectAppender
from .score import EVALUATION, read_score
from .shards import CLEARED, Plan, Shards, clean, join, joined, pack, plan_name, read_plan, shard_size, write_plan
from .states import State, states_of
from .totals import Totals

if TYPE_CHECKING:
    from ..types import Seed

CONTRACT = 2
"""Version of the layout above; incremented when an old reader would misread a new folder."""

OUTPUTS, TEXTS = "ModelOutputs", "text_features.st"

STEWARD = "steward"
"""Name of the lease under which a worker opens the folder, plans or merges."""

_MAX_DEPTH = 32  # nesting of run.json; ours has four levels

_NAME_TROUBLE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ, errno.EINVAL}


@dataclass(frozen=True)
class Former:
    """Results of earlier runs with the same settings.

    Attributes:
        done: ids of finished images, including ``kept``.
        kept: ids whose mask was edited since it was written, in the given order.
        replaced: ids whose image was replaced since its mask was written, in the given order.
    """

    done: frozenset[str] = frozenset()
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


class RunFolder:
    """A run folder that this process, and perhaps others, write to. Use as a context manager.

    Opening it checks that it is new or a run with the same settings. ``save`` and ``fail`` may be called from threads.

    Any number of processes may have the folder open, on any machines that see it. Each appends records to a file of its
    own. What only one may do at a time is done under a lease: opening, planning, and merging the records.

    Args:
        path: the folder; created if missing.
        class_set: names and palette of the label maps.
        settings: everything that determines the masks, as JSON values; must equal that of an existing run.
        about: further entries of ``run.json`` (versions, weight hashes), not compared; ``planned``, the number of
            images, is updated when the run resumes.
        split: name of the list file.
        part: which part of the run this process is to do, (index from 0, number of parts).
        overwrite: start over. Of several parts each starts over by itself, unless the settings differ.
        token: identifies the command, which may have several processes; what one of them has cleared or made is not
            cleared by the others.
        alone: refuse if another process has the folder open.
        layout: how files are named; None for the layout of an existing run, ``flat`` for a new one.

    Raises:
        WsssError: the folder contains something else or cannot be written; the message names the remedy.
    """

    def __init__(
        self,
        path: Location,
        class_set: ClassSet,
        settings: Mapping[str, Any],
        *,
        about: Mapping[str, Any] | None = None,
        split: str = "all",
        part: tuple[int, int] = (0, 1),
        overwrite: bool = False,
        token: str = "",
        alone: bool = False,
        layout: Layout | None = None,
    ) -> None:
        self.path = path
        self.class_set = class_set
        self.split = split
        self._part, self._overwrite = part, overwrite
        self._token = token or secrets.token_hex(6)
        self._palette = class_set.palette
        self._settings = plain(settings)
        self._fingerprint = fingerprint(self._settings)
        self._own_folders: set[str] = set()  # not as paths: nested runs have 200,000
        try:
            _refuse_foreign(path)
            path.mkdir(parents=True, exist_ok=True)
            for name in (MASKS, CONFIDENCE, IMAGES, OUTPUTS, f"{LISTS}/Segmentation", WORK):
                self._refuse_links(path / name)
            self._worker = Worker(path / WORK, self._token)
            self._leases = Leases(path / WORK, self._worker)
            try:
                with self._leases.waiting(STEWARD):
                    self._open(dict(about or {}), alone, layout)
            except BaseException:
                self._worker.leave()
                raise
        except OSError as error:
            raise write_error(path, error) from error

    def _open(self, about: dict[str, Any], alone: bool, layout: Layout | None) -> None:
        _refuse_foreign(self.path)
        others = self._others(foreign=True)
        if others and alone:
            raise _in_use(self.path)
        former = read_run(self.path)
        new = former is None
        self.layout = layout or layout_of_run(former or {})
        if former is not None:
            difference = settings_difference(former.get("settings"), self._settings)
            if layout_of_run(former) != self.layout and not self._overwrite:
                raise RunFolderError(
                    f"{self.path}: this run has the layout {layout_of_run(former)}; leave `layout` out to continue it, "
                    "use `overwrite` to start it again, or choose another `out`"
                )
            difference = difference or settings_difference({"layout": layout_of_run(former)}, {"layout": self.layout})
            if difference and not self._overwrite:
                precision = _only_precision(former.get("settings"), self._settings)
                resume = f"give `precision` {precision} to continue it, " if precision else ""
                raise RunFolderError(
                    f"{self.path}: this run was made with other settings: {difference}; {resume}"
                    "use `overwrite` to start it again, or another `out`"
                )
            if difference and others:
                raise RunFolderError(
                    f"{self.path}: another process is writing with other settings: {difference}; "
                    "let it end or choose another `out`"
                )
            if self._overwrite and not others and (difference or self._part[1] == 1) and not self._cleared():
                self._clear()
                new = True
        if self._worker.others() and not self._others():
            remove_parts([self.path])  # of dead workers
        if new:
            write_json(self.path / RUN, self._description(about))
        elif former is not None and "planned" in about and former.get("planned") != about["planned"]:
            write_json(self.path / RUN, former | {"planned": about["planned"]})
        if new or not (self.path / CLASSES).exists():
            write_text(self.path / CLASSES, "".join(f"{name}\n" for name in ("background", *self.class_set.names)))
        self._appender: Appender | ObjectAppender = (
            ObjectAppender(self.path, self._worker.id)
            if isinstance(self.path, Source)
            else Appender(self.path / part_file(self._worker.id))
        )

    def _others(self, *, foreign: bool = False) -> bool:
        """Whether other living workers have opened the folder.

        Args:
            foreign: leave out those of this command.
        """
        for id in self._worker.others():
            about = read_about(self.path / WORK, id)
            opened = about is not None and (about.driver or (self.path / part_file(id)).exists())
            if opened and self._worker.alive(id) and not (foreign and about is not None and about.token == self._token):
                return True
        return False

    def _cleared(self) -> bool:
        """Whether another process of this command has cleared the folder."""
        return self._mark().exists()

    def _mark(self) -> Location:
        return self.path / WORK / f"{CLEARED}{self._token}"

    def plan(
        self,
        samples: Sequence[Sample],
        *,
        shards: int | None = None,
        complete: Callable[[str], bool] | None = None,
    ) -> Shards:
        """The shards of this part of the run: those of other processes that have begun it, or new ones.

        Args:
            samples: the images of this part, in order.
            shards: number of shards; see ``shards.shard_size``.
            complete: whether an id has whatever else the seeder writes; finished images without it are processed again,
                but not those whose mask was edited.

        Raises:
            OSError: the manifest cannot be read, or the folder not be written.
            WsssError: finished masks were generated with image-level labels that differ from the current ones, or other
                processes have begun the part without overwriting it.
        """
        folder = self.path / WORK / plan_name(self._fingerprint, ids_of(samples))

        def shards_of(plan: Plan) -> Shards:
            def finished(some: Sequence[Sample], workers: Sequence[str]) -> frozenset[str]:
                return self.former(some, part_files(self.path, workers), since=plan.since).done

            join(folder, self._worker.id)
            return Shards(folder, plan, samples, self._worker, finished, self._appender.flush)

        with self._leases.waiting(STEWARD):
            plan = read_plan(folder)
            if plan is not None and any(self._worker.alive(id) for id in joined(folder)):
                if self._overwrite and not plan.token:
                    raise _in_use(self.path)
                return shards_of(plan)
            size = shard_size(len(samples), shards, remote=isinstance(self.path, Source))
            again = plan is not None and plan.size == size  # its leases say which images killed a worker
            token = self._token if self._overwrite else ""
            since = 0.0
            if token:
                since = plan.since if plan is not None and plan.token == token else time.time()
            states = self._states(samples, manifest_files(self.path), since)
            done = np.isin(np.frombuffer(states, np.uint8), (State.DONE, State.KEPT))
            if complete is not None:
                ids = ids_of(samples)
                for i in np.flatnonzero(np.frombuffer(states, np.uint8) == State.DONE).tolist():
                    done[i] = complete(ids[i])
            kept, replaced = _ids(samples, states, State.KEPT), _ids(samples, states, State.REPLACED)
            if replaced and isinstance(self.path, Path):
                names = ("background", *self.class_set.names)
                reopen(self.path, names, self._palette, replaced, "the photograph was replaced")
            index, count = self._part
            plan = Plan((index + 1, count), len(samples), size, pack(~done), kept, replaced, token, since)
            if not again and folder.exists():
                remove_tree(folder)
            folder.mkdir(exist_ok=True)
            made = shards_of(plan)
            if again:
                made.reopen(~done)
            write_plan(folder, plan)
            return made

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
            "layout": self.layout,
            **about,
            "versions": versions | dict(about.get("versions", {})),
            "started": _now(),
            "finished": None,
            "totals": None,
        }

    def _clear(self) -> None:
        """Remove what a run wrote, and nothing else; ``run.json`` stays, so that a kill leaves a run folder."""
        for path in manifest_files(self.path):  # first, because the files it lists must exist
            path.unlink(missing_ok=True)
        for name in (MASKS, CONFIDENCE, IMAGES, LISTS, OUTPUTS):
            if (self.path / name).exists():
                remove_tree(self.path / name)
        for name in (CLASSES, TEXTS, EVALUATION):
            (self.path / name).unlink(missing_ok=True)
        if is_ours(read_card(self.path) or ""):
            (self.path / README).unlink()
        for entry in (self.path / WORK).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                remove_tree(entry)
        self._mark().touch()

    def former(
        self, samples: Sequence[Sample], files: Iterable[Location] | None = None, *, since: float = 0.0
    ) -> Former:
        """Results of earlier runs with the same settings for these samples.

        Args:
            samples: the images.
            files: the manifest files to read, by default all.
            since: time in seconds since 1970 from which on results count.

        Raises:
            OSError: the manifest cannot be read.
            WsssError: finished masks were generated with image-level labels that differ from the current ones.
        """
        states = self._states(samples, manifest_files(self.path) if files is None else files, since)
        done = _ids(samples, states, State.DONE, State.KEPT)
        return Former(frozenset(done), _ids(samples, states, State.KEPT), _ids(samples, states, State.REPLACED))

    def _states(self, samples: Sequence[Sample], files: Iterable[Location], since: float) -> bytearray:
        """The ``State`` of each sample; see ``former``."""
        names = self.class_set.names
        return states_of(samples, files, self.path, self.layout, self._fingerprint, names, since)

    def save(
        self,
        sample: Sample,
        image: np.ndarray,
        seed: Seed,
        seconds: float,
        stamp: Stamp | None = None,
        original: bytes | None = None,
    ) -> Record:
        """Write a seed: image link, confidence, mask, and last the record that marks it as finished.

        Args:
            sample: the sample.
            image: its image, uint8 (H, W, 3), in the orientation of the seed.
            seed: its seed.
            seconds: the time it took.
            stamp: of the image file as it was read.
            original: content of an image file without a path, if all readers read this image from it.

        An id that the file system does not support becomes a failed record. Raises OSError if the folder cannot be
        written to, and WsssError if a folder in it is a link.
        """
        self._refuse_links_to(sample.id)
        data = mask_bytes(seed.labels, self._palette)
        try:
            mask = mask_path(self.path, sample.id, self.layout)
            found = _found(mask, data)  # from a worker that died before it recorded it, or is taken for dead
            if found is False:
                # A mask that differs from its record counts as edited. So an existing one is retracted first: a kill
                # between writing the new mask and its record must not look like an edit.
                self.fail(sample, "its mask is being replaced", 0.0)
            if isinstance(self.path, Path):
                place_image(image_path(self.path, sample.id, self.layout), sample.image or original, image)
            elif sample.file is None:  # drawn: it lies nowhere else
                write_rgb(image_path(self.path, sample.id, self.layout), image)
            write_confidence(confidence_path(self.path, sample.id, self.layout), seed.confidence)
            if not found:
                write_bytes(mask, data)
            written = Stamp.of_written(mask, hashlib.sha256(data).hexdigest())
        except OSError as error:
            if error.errno not in _NAME_TROUBLE:
                raise
            return self.fail(
                sample, f"{sample.id}: the file system does not support this id ({error.strerror})", seconds
            )
        record = msgspec.structs.replace(
            record_of(sample, seed, self.class_set),
            seconds=round(seconds, 4),
            mask=written,
            image=stamp,
            source=self._source(sample),
            settings=self._fingerprint,
            finished=round(time.time(), 3),
        )
        self._appender.append(record)
        return record

    def _source(self, sample: Sample) -> str | None:
        """Where the image lies, if the run folder has no link to it."""
        if isinstance(self.path, Source) and sample.image is not None:
            return str(sample.image.absolute())
        return None if sample.source is None else str(sample.source)

    def fail(self, sample: Sample, error: str, seconds: float) -> Record:
        """Record that an image has no seed, and remove an existing mask. Raises like ``save``."""
        self._refuse_links_to(sample.id)
        record = Record(
            id=sample.id,
            status="failed",
            seconds=round(seconds, 4),
            error=error_text(error),
            settings=self._fingerprint,
            finished=round(time.time(), 3),
        )
        self._appender.append(record)  # first, so that finished masks in the manifest always exist
        self._appender.flush()
        for path in (mask_path(self.path, sample.id, self.layout), confidence_path(self.path, sample.id, self.layout)):
            try:
                path.unlink(missing_ok=True)
            except OSError as trouble:
                if trouble.errno not in _NAME_TROUBLE:
                    raise
        return record

    def finalize(self, order: Sequence[str], images: int | None = None) -> bool:
        """Update manifest, list and totals, in the order of the dataset.

        Args:
            order: all ids of the dataset.
            images: number of images for the totals; None if it is that of the ids.

        Of several processes only the last one to finish does so; for the others this returns False. Raises OSError.

        A kill leaves the records in the files of the workers or in the manifest, or in both with equal content.
        """
        self._appender.close()
        with self._leases.waiting(STEWARD):
            last = not self._others()
            if last:
                self._merge(order, len(order) if images is None else images)
            self._worker.leave()
        return last

    def _merge(self, order: Sequence[str], images: int) -> None:
        if self._worker.others():
            remove_parts([self.path])
        about = read_run(self.path) or {}
        list_file = self.path / LISTS / "Segmentation" / f"{self.split}.txt"
        if self._merged(about, images) and list_file.exists():
            for file in manifest_files(self.path):
                if file.name != MANIFEST:
                    file.unlink()
            write_card(self.path, run_card(about, self.class_set.names, read_score(self.path, about)))
            clean(self._worker)
            return
        write_json(self.path / RUN, about | {"finished": None})  # until all files below are written
        totals, done = Totals(), Texts()
        left = images

        def lines() -> Iterator[bytes]:
            nonlocal left
            with Manifest(self.path) as manifest:
                for line, record, ordered in manifest.lines(order):
                    if record.settings == self._fingerprint:
                        totals.add(record)
                        left -= ordered
                        if record.status == "ok":
                            done.append(record.id)
                        yield line

        compact(self.path, lines())
        write_lines(list_file, (f"{file_name(id, self.layout)}\n".encode() for id in done))
        now = {"finished": _now(), "totals": totals.to_json() | {"images": images}}
        write_json(self.path / RUN, about | now)
        write_card(self.path, run_card(about | now, self.class_set.names))
        clean(self._worker, everything=left == 0)

    def _merged(self, about: Mapping[str, Any], images: int) -> bool:
        """Whether the manifest has all records of a run of this number of images, and need not be written again."""
        files = manifest_files(self.path)
        return (
            about.get("finished") is not None
            and (about.get("totals") or {}).get("images") == images
            and any(file.name == MANIFEST for file in files)
            and not any(file.stat().st_size for file in files if file.name != MANIFEST)
        )

    def _refuse_links_to(self, id: str) -> None:
        folder = file_name(id, self.layout).rpartition("/")[0]
        if folder:  # the others are in folders that were checked at the start
            for name in (MASKS, CONFIDENCE, IMAGES):
                self._refuse_links(self.path / name / folder)

    def _refuse_links(self, folder: Location) -> None:
        """Raise WsssError if a folder below this one, or one on the path to it, is a link, which would be followed."""
        if isinstance(folder, Source) or str(folder) in self._own_folders:
            return
        for inner in (folder, *folder.parents):
            if inner == self.path:
                break
            if inner.is_symlink():
                raise RunFolderError(
                    f"{inner}: a link, but a run writes only into its own folders; remove it or choose another `out`"
                )
        self._own_folders.add(str(folder))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._appender.close()
        part = self.path / part_file(self._worker.id)
        with suppress(OSError):
            if not part.stat().st_size:
                part.unlink()
        self._worker.leave()


def _ids(samples: Sequence[Sample], states: bytearray, *which: State) -> tuple[str, ...]:
    """Ids of the samples in one of these states."""
    ids = ids_of(samples)
    return tuple(ids[index] for index, state in enumerate(states) if state in which)


def _in_use(path: Location) -> WsssError:
    return RunFolderError(f"{path}: another process is writing to this run; let it end or choose another `out`")


@contextmanager
def driving(path: Location) -> Iterator[tuple[str, Location]]:
    """Keep a run open for the workers of this process, so that none of them concludes it before the others have begun.

    Yields the token for the workers, and a file in the folder that they must see, absolute. Raises WsssError if the
    folder contains something else or cannot be written.
    """
    token, there = secrets.token_hex(6), path.exists()
    try:
        _refuse_foreign(path)
        path.mkdir(parents=True, exist_ok=True)
        driver = Worker(path / WORK, token, driver=True)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield token, driver.path.absolute()
    finally:
        driver.leave()
        if not there:
            with suppress(OSError):  # not empty
                path.rmdir()


def unmerged(path: Location) -> bool:
    """Whether workers have records in a run folder that are not in its manifest."""
    return any(file.name != MANIFEST for file in manifest_files(path))


def finalize(path: Location, class_set: ClassSet, split: str, order: Sequence[str]) -> bool:
    """Finalize the folder after its workers have ended; see ``RunFolder.finalize``.

    Returns False if there is no run yet, or another process is writing to the folder and will do it.
    """
    run = read_run(path)
    if run is None:
        return False
    try:
        with RunFolder(path, class_set, run["settings"], split=split) as folder:
            return folder.finalize(order)
    except WsssError:
        return False


def confidence_path(folder: SomeLocation, id: str, layout: Layout) -> SomeLocation:
    """Path of the confidence map of an id."""
    return cast(SomeLocation, folder / CONFIDENCE / f"{file_name(id, layout)}.png")


def image_path(folder: SomeLocation, id: str, layout: Layout) -> SomeLocation:
    """Path of the image of an id. VOC readers expect ``.jpg``; decoders detect the format by content."""
    return cast(SomeLocation, folder / IMAGES / f"{file_name(id, layout)}.jpg")


def outputs_path(folder: SomeLocation, id: str, layout: Layout) -> SomeLocation:
    """Path of the model outputs kept for an id; see ``models.outputs``."""
    return cast(SomeLocation, folder / OUTPUTS / f"{file_name(id, layout)}.st")


def texts_path(folder: SomeLocation) -> SomeLocation:
    """Path of CLIP's text features kept for a run."""
    return cast(SomeLocation, folder / TEXTS)


def place_image(path: Path, source: Path | bytes | None, image: np.ndarray) -> None:
    """Put an image into the run folder such that every reader gets these pixels.

    Plain RGB and grey files are linked. Drawn images, and files with an EXIF orientation or another pixel format, are
    written as PNG, because readers treat such files differently.

    Args:
        path: destination; a link there is replaced, not followed.
        source: the image file; or the content of one from which all readers read this image; None if there is none.
        image: uint8 (H, W, 3), in the orientation of the mask.

    Raises OSError.
    """
    if isinstance(source, bytes):
        write_bytes(path, source)
        return
    if source is None or not reads_alike(source, image.shape[1::-1]):
        write_rgb(path, image)
        return
    target = os.path.abspath(source)
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for link in (os.symlink, os.link):
        try:
            atomic_replace(path, partial(link, target))
            return
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
    write_bytes(path, Path(target).read_bytes())


def _found(path: Location, data: bytes) -> bool | None:
    """Whether a file, no link, has this content; None if there is none. Raises OSError."""
    try:
        if isinstance(path, Path) and (path.is_symlink() or path.stat().st_size != len(data)):
            return False
        return path.read_bytes() == data
    except FileNotFoundError:
        return None


def record_of(sample: Sample, seed: Seed, class_set: ClassSet) -> Record:
    """The record of a seed without what only a run folder knows: stamps, settings and times."""
    counts = np.bincount(seed.labels.ravel(), minlength=256)
    names = ("background", *class_set.names)
    height, width = seed.labels.shape
    return Record(
        id=sample.id,
        status="ok",
        present=tuple(names[index + 1] for index in seed.present),
        scores={names[index + 1]: round(float(score), 6) for index, score in seed.scores.items()},
        size=(width, height),
        pixels={name: int(counts[value]) for value, name in enumerate(names) if counts[value]},
        ignore=round(float(counts[IGNORE]) / seed.labels.size, 6),
        notes=tuple(seed.notes),
        evidence=plain(seed.evidence),
        labels=None if sample.labels is None else tuple(class_set.names[index] for index in sample.labels),
    )


def write_error(path: Location, error: OSError) -> WsssError:
    """The error for a folder that cannot be written to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        why = {errno.EFBIG: "a file grew beyond the allowed size"}.get(error.errno, "no space left")
        return RunFolderError(f"{path}: {why}; what is finished stays: make room and give the same command again")
    if error.errno == errno.ELOOP:
        return RunFolderError(
            f"{error.filename or path}: a link, which is not followed; remove it or choose another `out`"
        )
    reason = error.strerror or str(error)
    return RunFolderError(f"{path}: cannot be written ({reason}); choose another `out` or make it writable")


def _refuse_foreign(path: Location) -> None:
    """Raise WsssError unless the path is missing, empty or a run folder."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: not a folder; choose another `out`")
    if not path.is_dir():
        return
    others = any(entry.name != WORK and not is_part(entry) for entry in path.iterdir())
    if others and not (path / RUN).exists():  # checked last: another shard may be creating the folder
        raise RunFolderError(f"{path}: not empty and not a run folder; choose another `out`")


def new_or_run(path: Location) -> dict[str, Any] | None:
    """Contents of ``run.json`` of a folder to write to; None if it is missing or empty. Raises WsssError otherwise."""
    _refuse_foreign(path)
    return read_run(path)


def read_run(path: Location) -> dict[str, Any] | None:
    """Contents of ``run.json``; None if there is none.

    Raises WsssError if it is damaged or has another layout.
    """
    file = path / RUN
    unreadable = RunFolderError(
        f"{file}: not readable as the settings of a run; remove the folder or choose another `out`"
    )
    try:
        run = json.loads(file.read_bytes())
        json.dumps(run, ensure_ascii=False).encode("utf-8", "surrogateescape")  # JSON can contain what UTF-8 cannot
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(
            f"{file}: cannot be read ({error.strerror or error}); check it or choose another `out`"
        ) from None
    except (ValueError, RecursionError):
        raise unreadable from None
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict) or _deeper(run, _MAX_DEPTH):
        raise unreadable
    if type(run.get("contract")) is int and run["contract"] != CONTRACT:
        raise RunFolderError(
            f"{file}: written by another version of wsss-seed (layout {run['contract']:.6g}, here {CONTRACT}); "
            "choose another `out`"
        )
    try:
        msgspec.convert(run, _RunFile)
    except msgspec.ValidationError:
        raise unreadable from None
    return run


def existing_run(path: Location) -> dict[str, Any]:
    """Contents of ``run.json`` of a run folder that must be there.

    Raises WsssError if there is no such folder, if it is not a run folder, or like ``read_run``.
    """
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; give the folder of a run")
    run = read_run(path)
    if run is None:
        raise RunFolderError(f"{path}: not a run folder (it has no run.json); give what generate or predict wrote")
    return run


def run_orientation(path: Location) -> Orientation:
    """What the label maps of a run folder, or of its SegmentationClass, match; ``stored`` for any other folder.

    Raises WsssError if ``run.json`` is damaged or has another layout.
    """
    run = read_run(path.parent if path.name == MASKS else path)
    return "upright" if run is not None and run["settings"].get("orientation") == "upright" else "stored"


class _TotalsOfFile(msgspec.Struct):
    images: Count | None = None


class _RunFile(msgspec.Struct):
    """Fields of ``run.json`` that readers rely on."""

    contract: Literal[2]
    settings: dict[str, Any]
    versions: dict[str, Any]
    started: str
    finished: str | None
    totals: _TotalsOfFile | None
    layout: Layout = "flat"


def _deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value is nested deeper than ``levels``."""
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(item, levels - 1) for item in inner if isinstance(item, dict | list))


def _dotted(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _dotted(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def settings_difference(old: Any, new: Any, most: int = 8) -> str:
    """``key old -> new`` for each setting that differs; empty if none does."""
    before, after = _dotted(old), _dotted(new)
    keys = [key for key in {**before, **after} if before.get(key, _UNSET) != after.get(key, _UNSET)]
    parts = [f"{key} {_short(before.get(key, _UNSET))} -> {_short(after.get(key, _UNSET))}" for key in keys[:most]]
    return ", ".join([*parts, *([f"and {len(keys) - most} more"] if len(keys) > most else [])])


def _only_precision(old: Any, new: Mapping[str, Any]) -> str | None:
    """The old precision, if settings differ in nothing else."""
    precision = old.get("precision") if isinstance(old, dict) else None
    return precision if isinstance(precision, str) and {**new, "precision": precision} == old else None


_UNSET = object()


def _short(value: Any) -> str:
    text = "unset" if value is _UNSET else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Hash of the settings of a mask, stored in its record."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
