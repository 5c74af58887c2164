"""The loop that turns a dataset into a run folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.base import Dataset, Sample
from ..data.classes import IGNORE
from ..errors import RunFolderError
from ..io.progress import Reporter
from ..io.stamp import Stamp
from ..output.manifest import Record
from ..output.run_folder import Former, RunFolder, write_error
from ..types import LoadedSample, Seed, Seeder
from .loop import process_samples


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        out: the run folder.
        ids: the images this run was to do, in the dataset's order (its shard, up to its limit).
        skipped: how many of them were finished before.
        made: how many were seeded now.
        failed: id and error of those that have no mask.
        kept: ids of masks that were edited since they were made, which were left as they are.
        replaced: ids of images that were replaced since their masks were made, which were seeded again.
        seconds: wall time.
        interrupted: whether it was stopped before its end.
        finalized: whether manifest, list and totals are up to date; of several shards the last to end sees to that.
    """

    out: Path
    ids: tuple[str, ...]
    skipped: int
    made: int
    failed: tuple[tuple[str, str], ...]
    seconds: float
    interrupted: bool
    finalized: bool
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 all well, 1 some images failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0


def generate(
    dataset: Dataset,
    seeder: Seeder,
    out: Path,
    *,
    settings: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    split: str | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    progress: Reporter | None = None,
    prefetch: int = 2,
) -> RunResult:
    """Seed a dataset into a run folder, going on where an earlier run with the same settings stopped.

    Images decode ahead and PNGs are written behind, in threads with bounded queues. An image that cannot be read or
    seeded becomes a line in the manifest and is tried again by the next run. On Ctrl-C, SIGTERM or SIGHUP the writes
    under way are finished and the result says ``interrupted``. Each image is seeded by itself, so the masks do not
    depend on where a run was interrupted or how it was divided.

    A finished mask that was edited since is kept, and an image file that was replaced since is seeded again; the result
    names both.

    With the same settings, processor and number of threads all bytes are the same but times. Another number of threads
    (which ``OMP_NUM_THREADS`` sets, and which is smaller where several processes share the work) or another processor
    adds float32 products in another order. That moves a detector's boxes by some 1e-5 pixels and, where a crop of one
    then has a grey value more or less, CLIP's probabilities by up to 4e-4. Of 300 images of toyland, seeded label-free,
    with labels and by clip-sams, with 1 and 2 threads and with the instructions of AVX2 and AVX-512, every mask was the
    same; confidence differed by one grey level in at most 1 of 6,000 pixels, and scores by less than 0.001. A pixel or
    a box that lies on a threshold may fall to the other side, so equal masks are likely, not certain. Rounding first
    would not change that: it moves the thresholds and makes the steps larger.

    Args:
        dataset: the images; ``image`` and ``boxes`` are called from threads.
        seeder: makes the seeds.
        out: the run folder.
        settings: everything that determines the masks, as JSON values.
        about: further facts for ``run.json``.
        split: name of the list file; the dataset's split by default.
        limit: do the first so many images of the dataset.
        shard: do every n-th of them, (index from 0, n).
        overwrite: make finished masks again, and allow other settings.
        progress: where to show how far it is.
        prefetch: how many images to decode ahead.

    Raises:
        WsssError: the folder cannot be used, or the seeder says that no image can be seeded.
    """
    start = time.monotonic()
    index, count = shard
    samples = dataset.samples[:limit][index::count]
    _refuse_own_images(samples, out)
    failed: dict[str, str] = {}
    made = 0
    interrupted = finalized = False
    counting = threading.Lock()
    split = split or dataset.split or "all"
    with RunFolder(
        out, dataset.class_set, settings, about=about, split=split, shard=shard, overwrite=overwrite
    ) as folder:
        try:
            former = Former() if overwrite else folder.former(samples)
        except OSError as error:
            raise RunFolderError(f"{out}: what is finished cannot be read ({error.strerror or error})") from error
        todo = [sample for sample in samples if sample.id not in former.done]

        def through(record: Record) -> None:
            nonlocal made
            with counting:
                if record.status == "ok":
                    made += 1
                else:
                    failed[record.id] = record.error or ""
                if progress is not None:
                    progress.step(failed=record.status != "ok")

        def load(sample: Sample) -> tuple[LoadedSample, Stamp | None]:
            stamp = _stamp(sample)
            boxes = dataset.boxes(sample) if seeder.needs_boxes else None
            return LoadedSample(sample, dataset.image(sample), boxes), stamp

        def make(loaded: tuple[LoadedSample, Stamp | None]) -> Seed:
            seed = seeder.seed(loaded[0])
            _check(seed, loaded[0].image, len(dataset.class_set.names))
            return seed

        def save(loaded: tuple[LoadedSample, Stamp | None], seed: Seed, seconds: float) -> None:
            sample, stamp = loaded
            through(folder.save(sample.sample, sample.image, seed, seconds, stamp))

        def fail(sample: Sample, error: str, seconds: float) -> None:
            through(folder.fail(sample, error, seconds))

        try:
            if progress is not None:
                progress.start(len(samples), len(former.done))
            process_samples(todo, load, make, save, fail, prefetch=prefetch)
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:
            raise write_error(out, error) from error
        finally:
            if progress is not None:
                progress.stop()
        try:
            finalized = folder.finalize([sample.id for sample in dataset.samples])
        except OSError as error:
            raise write_error(out, error) from error
    return RunResult(
        out=out,
        ids=tuple(sample.id for sample in samples),
        skipped=len(former.done),
        made=made,
        failed=tuple((sample.id, failed[sample.id]) for sample in samples if sample.id in failed),
        seconds=time.monotonic() - start,
        interrupted=interrupted,
        finalized=finalized,
        kept=former.kept,
        replaced=former.replaced,
    )


def _stamp(sample: Sample) -> Stamp | None:
    """The stamp of an image file; None where there is none, or none that can be read, which reading it will say."""
    try:
        return None if sample.image is None else Stamp.of(sample.image)
    except OSError:
        return None


def _refuse_own_images(samples: Sequence[Sample], out: Path) -> None:
    """A run folder that lay among its own images would be fed with its own output."""
    folder = out.absolute()
    for sample in samples:
        if sample.image is not None and folder in sample.image.absolute().parents:
            raise RunFolderError(
                f"{out}: the dataset's images lie in this folder ({sample.image}); choose another `out`"
            )


def _check(seed: Seed, image: np.ndarray, classes: int) -> None:
    """Raise ValueError unless the seed keeps its promises; a wrong mask on disk would be found too late."""
    shape = image.shape[:2]
    if seed.labels.dtype != np.uint8 or seed.labels.shape != shape:
        raise ValueError(f"the seeder gave labels {seed.labels.dtype} {seed.labels.shape}, not uint8 {shape}")
    if ((seed.labels > classes) & (seed.labels != IGNORE)).any():
        raise ValueError(f"the seeder gave labels beyond the {classes} classes")
    if seed.confidence.shape != shape or not np.isfinite(seed.confidence).all():
        raise ValueError(f"the seeder gave confidence {seed.confidence.shape} or not finite, not {shape}")
    if any(not 0 <= c < classes for c in (*seed.present, *seed.scores)):
        raise ValueError(f"the seeder named classes beyond the {classes} of the class set")
