"""Seeding a dataset into a run folder."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.base import Boxes, Dataset, Sample
from ..data.classes import IGNORE
from ..data.images import content, reads_alike
from ..data.orientation import Orientation, inverse, turn, turn_boxes
from ..data.samples import ids_of
from ..data.selection import select
from ..data.voc_layout import Layout
from ..errors import ImageError, RunFolderError
from ..io.progress import Reporter
from ..io.source import Location, Source, is_url
from ..io.stamp import Stamp
from ..output.manifest import Record
from ..output.run_folder import RunFolder, write_error
from ..types import LoadedSample, Seed, Seeder
from .loop import process_samples
from .shared import SharedWork


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        out: the run folder.
        ids: the images of this run, in the dataset's order (within limit or sample, and shard).
        skipped: number of images that an earlier run had finished.
        made: number of images seeded by this run.
        failed: id and error of the images that have no mask.
        kept: ids of masks that were edited after they were made; they are left unchanged.
        replaced: ids of images that were replaced after their masks were made; they are seeded again.
        turned: number of images seeded by this run that were turned upright according to EXIF.
        seconds: wall time.
        interrupted: whether the run was interrupted.
        finalized: whether manifest, list and totals are up to date; with several shards, the last one updates them.
    """

    out: Location
    ids: Sequence[str]
    skipped: int
    made: int
    failed: tuple[tuple[str, str], ...]
    seconds: float
    interrupted: bool
    finalized: bool
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    turned: int = 0

    @property
    def exit_status(self) -> int:
        """0 success, 1 some images failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0


class _Loaded(NamedTuple):
    upright: LoadedSample
    exif: int  # the orientation of the image file
    stamp: Stamp | None
    original: bytes | None  # content of an image file without a path, if all readers read this image from it


def generate(
    dataset: Dataset,
    seeder: Seeder,
    out: Location,
    *,
    settings: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    split: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    shards: int | None = None,
    orientation: Orientation = "stored",
    layout: Layout | None = None,
    overwrite: bool = False,
    token: str = "",
    complete: Callable[[str], bool] | None = None,
    progress: Reporter | None = None,
    prefetch: int = 2,
    batch: int = 1,
) -> RunResult:
    """Seed a dataset into a run folder, resuming an earlier run with the same settings.

    Threads with bounded queues decode images ahead and write PNGs behind. An image that cannot be read or seeded is
    recorded in the manifest and retried by the next run. On Ctrl-C, SIGTERM or SIGHUP, pending writes are finished and
    the result is marked ``interrupted``. Each image is seeded independently, so the masks depend neither on
    interruptions nor on shards.

    Several processes with the same arguments, on any machines that see the folder, share the work; see
    ``output.shards``. If one dies, the others take over its images. An image that kills its process, again when it is
    processed alone, is recorded as failed.

    The seeder sees every image upright, by its EXIF orientation; the seed is turned back before it is written.

    A finished mask that was edited is kept, and an image file that was replaced is seeded again; the result lists both.

    With the same settings, processor and number of threads, all outputs but the times are identical byte for byte.
    Another processor or number of threads (set by ``OMP_NUM_THREADS``, lower when several processes share the work)
    sums float32 products in another order. That shifts detector boxes by about 1e-5 pixels and, where this changes a
    grey value of a crop, CLIP's probabilities by up to 4e-4. On 300 toyland images, seeded label-free, with labels and
    by clip-sams, with 1 and 2 threads and with AVX2 and AVX-512 instructions, all masks were identical; confidence
    differed by one grey level in at most 1 of 6,000 pixels, and scores by less than 0.001. Pixels or boxes at a
    threshold may still flip, so identical masks are likely but not guaranteed. Rounding intermediate values would not
    help: it only moves the thresholds and enlarges the steps.

    Args:
        dataset: the images; its ``image`` and ``boxes`` are called from threads.
        seeder: the seeder.
        out: the run folder.
        settings: everything that determines the masks, as JSON values.
        about: further facts for ``run.json``.
        split: name of the list file; the dataset's split by default.
        limit: process only the first ``limit`` images of the dataset.
        sample: process only this many random ones; see ``data.selection.select``.
        seed: random seed of ``sample``.
        shard: process only every n-th of them, (0-based index, n).
        shards: number of shards that processes take one after the other; by default it depends on the number of images.
        orientation: what the masks match; recorded with the settings. With ``upright`` the run folder has upright
            copies of images that EXIF turns.
        layout: how the files of the run folder are named; None for the layout of an existing run, ``flat`` for a new
            one.
        overwrite: regenerate finished masks, and accept changed settings.
        token: identifies the command, if it has several processes.
        complete: whether an id has whatever else the seeder writes; finished images without it are seeded again, but
            not those whose mask was edited.
        progress: receives the progress.
        prefetch: number of images to decode ahead.
        batch: number of images processed together; more than one only with seeders that several threads may call.

    Raises:
        WsssError: the folder cannot be used, or the seeder fails in a way that would affect every image.
    """
    start = time.monotonic()
    index, count = shard
    planned = select(dataset.samples, limit, sample, seed)
    samples = planned[index::count]
    if len(samples):
        _refuse_own_image(samples[0], out)  # before the folder is touched; the others when it is their turn
    failed: dict[str, str] = {}
    made = turned = 0
    interrupted = finalized = False
    counting = threading.Lock()
    split = split or dataset.split or "all"
    with RunFolder(
        out,
        dataset.class_set,
        {**settings, "orientation": orientation},
        about={**(about or {}), "planned": len(planned)},
        split=split,
        part=shard,
        overwrite=overwrite,
        token=token,
        layout=layout,
    ) as folder:
        try:
            work = folder.plan(samples, shards=shards, complete=complete)
        except OSError as error:
            raise RunFolderError(f"{out}: the finished part cannot be read ({error.strerror or error})") from error

        def count_record(record: Record, exif: int = 1) -> None:
            nonlocal made, turned
            with counting:
                if record.status == "ok":
                    made += 1
                    turned += exif != 1
                else:
                    failed[record.id] = record.error or ""
                if progress is not None:
                    progress.step(failed=record.status != "ok")
            shared.recorded(record.id)

        def load(sample: Sample) -> _Loaded:
            _refuse_own_image(sample, out)
            stamp = _stamp(sample)
            image, exif = dataset.image(sample), dataset.orientation(sample)
            original = None
            if sample.source is not None and isinstance(out, Path) and reads_alike(sample.source, image.shape[1::-1]):
                original = content(sample.source)
            boxes = dataset.boxes(sample) if seeder.needs_boxes else None
            if boxes is not None:
                boxes = Boxes(turn_boxes(boxes.xyxy, exif, (image.shape[0], image.shape[1])), boxes.classes)
            return _Loaded(LoadedSample(sample, turn(image, exif), boxes), exif, stamp, original)

        def make(loaded: _Loaded) -> Seed:
            seed = seeder.seed(loaded.upright)
            _check(seed, loaded.upright.image, len(dataset.class_set.names))
            return seed

        def save(loaded: _Loaded, seed: Seed, seconds: float) -> None:
            back = inverse(loaded.exif) if orientation == "stored" else 1
            sample, image = loaded.upright.sample, turn(loaded.upright.image, back)
            if shared.held(sample):
                record = folder.save(sample, image, seed.turned(back), seconds, loaded.stamp, loaded.original)
                count_record(record, loaded.exif)

        def fail(sample: Sample, error: str, seconds: float) -> None:
            if shared.held(sample):
                count_record(folder.fail(sample, error, seconds))

        def process(some: Iterable[Sample]) -> None:
            process_samples(
                some,
                load,
                make,
                save,
                fail,
                size=lambda loaded: loaded.upright.image.nbytes,
                shape=lambda loaded: loaded.upright.image.shape,
                prefetch=prefetch,
                readers=_threads(samples[0].file if len(samples) else None),
                writers=_threads(out),
                batch=batch,
            )

        shared = SharedWork(work, process, lambda sample, error: fail(sample, error, 0.0))
        try:
            if progress is not None:
                progress.start(len(samples), work.skipped)
            shared.run()
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:
            raise write_error(out, error) from error
        finally:
            if progress is not None:
                progress.stop()
        try:
            finalized = folder.finalize(dataset.ids)
        except OSError as error:
            raise write_error(out, error) from error
    return RunResult(
        out=out,
        ids=ids_of(samples),
        skipped=work.skipped,
        made=made,
        failed=tuple((id, failed[id]) for id in ids_of(samples) if id in failed) if failed else (),
        seconds=time.monotonic() - start,
        interrupted=interrupted,
        finalized=finalized,
        kept=work.plan.kept,
        replaced=work.plan.replaced,
        turned=turned,
    )


def _threads(place: Location | None) -> int:
    """Threads that read or write at a place. Behind a URL each waits for answers most of the time."""
    return 8 if isinstance(place, Source) and is_url(place.place) else 2


def _stamp(sample: Sample) -> Stamp | None:
    """The stamp of an image file; None without a file, or if it cannot be read (then ``load`` fails later)."""
    try:
        if sample.source is not None:
            data = content(sample.source)
            return Stamp(len(data), 0, hashlib.sha256(data).hexdigest())
        return None if sample.image is None else Stamp.of(sample.image)
    except (OSError, ImageError):
        return None


def _refuse_own_image(sample: Sample, out: Location) -> None:
    """Refuse a run folder that contains an image of the dataset, or the run would read its own output."""
    if isinstance(out, Source):
        inside = sample.source is not None and out.contains(sample.source)
    else:
        inside = sample.image is not None and out.absolute() in sample.image.absolute().parents
    if inside:
        raise RunFolderError(f"{out}: the dataset's images lie in this folder ({sample.file}); choose another `out`")


def _check(seed: Seed, image: np.ndarray, classes: int) -> None:
    """Raise ValueError if a seed is malformed, before it is written to disk."""
    shape = image.shape[:2]
    if seed.labels.dtype != np.uint8 or seed.labels.shape != shape:
        raise ValueError(f"the seeder returned labels {seed.labels.dtype} {seed.labels.shape}, not uint8 {shape}")
    if ((seed.labels > classes) & (seed.labels != IGNORE)).any():
        raise ValueError(f"the seeder returned labels beyond the {classes} classes")
    if seed.confidence.shape != shape or not np.isfinite(seed.confidence).all():
        raise ValueError(f"the seeder returned confidence that is not finite or not of shape {shape}")
    if any(not 0 <= c < classes for c in (*seed.present, *seed.scores)):
        raise ValueError(f"the seeder returned classes beyond the {classes} of the class set")
