"""Generating and storing the mask proposals of a dataset, by one process or several."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..data.base import Dataset, Sample
from ..data.orientation import turn
from ..data.samples import ids_of
from ..io.progress import Progress, Reporter
from ..io.source import is_url
from ..output.run_folder import write_error
from ..output.shards import plan_name
from ..output.store_work import StoreWork
from ..proposals.generate import ProposalSettings, generate_proposals, proposal_store
from ..proposals.store import Proposals
from ..seeding.clip_sams import proposal_weights
from .engines import is_alone, run_workers
from .loop import process_samples
from .on_ray import Cluster
from .shared import SharedWork

if TYPE_CHECKING:
    from ..models.masks import MaskModel
    from ..models.zoo import ModelSet


@dataclass(frozen=True)
class ProposalRun:
    """What a run, with all processes that shared it, has done.

    Attributes:
        out: folder of the store.
        images: number of images of this run.
        skipped: number of images whose proposals were already stored.
        made: number of images whose proposals were generated.
        empty: number of images without proposals, because no mask passed the filters.
        masks: number of proposals of all images.
        turned: number of images that were turned upright according to EXIF.
        failed: id and error of the images that failed.
        seconds: wall time.
        interrupted: whether the run was interrupted.
    """

    out: Path
    images: int
    skipped: int
    made: int
    empty: int
    masks: int
    turned: int
    failed: tuple[tuple[str, str], ...]
    seconds: float
    interrupted: bool

    @property
    def exit_status(self) -> int:
        """0 success, 1 some images failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0


class _Loaded(NamedTuple):
    sample: Sample
    image: np.ndarray  # upright
    exif: int  # the orientation of the image file
    path: Path
    found: Proposals | None


def propose(
    dataset: Dataset,
    sam: Callable[[], MaskModel],
    weights: str,
    settings: ProposalSettings,
    out: Path,
    *,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    shards: int | None = None,
    overwrite: bool = False,
    asked: str = "",
    token: str = "",
    progress: Reporter | None = None,
    prefetch: int = 2,
) -> ProposalRun:
    """Generate the mask proposals that are not stored yet.

    Stored proposals are of the upright images and addressed by their content, weights and settings, so a run leaves
    nothing else behind: an interrupted run resumes, a damaged file is regenerated, and different settings never mix.

    Several processes with the same arguments, on any machines that see the folder, share the images; see
    ``output.shards`` and ``run.generate``. An image that kills its process, again when it is processed alone, fails.

    Args:
        dataset: the images; its ``image`` is called from threads.
        sam: returns the model; called only for images without stored proposals.
        weights: identifies the model's weights.
        settings: settings of the proposals.
        out: folder of the store.
        limit: process only the first ``limit`` images of the dataset.
        shard: process only every n-th of them, (0-based index, n).
        shards: number of shards that processes take one after the other; by default it depends on the number of images.
        overwrite: regenerate stored proposals.
        asked: the model as the user named it; processes share images only if it is the same.
        token: identifies the command, if it has several processes.
        progress: receives the progress.
        prefetch: number of images to decode ahead.

    Raises:
        WsssError: the folder cannot be written to, or a process that shares the images has other weights.
    """
    start = time.monotonic()
    interrupted = False
    samples = _part(dataset, limit, shard)

    def load(sample: Sample) -> _Loaded:
        image, exif = dataset.image(sample), dataset.orientation(sample)
        image = turn(image, exif)
        path = store.path(image)
        found = None if overwrite else store.read(path, (image.shape[0], image.shape[1]))
        return _Loaded(sample, image, exif, path, found)

    def make(loaded: _Loaded) -> Proposals:
        if loaded.found is not None:
            return loaded.found
        return generate_proposals(sam(), loaded.image, settings)

    def save(loaded: _Loaded, proposals: Proposals, _: float) -> None:
        new = loaded.found is None
        if new:
            store.write(loaded.path, proposals)
        if shared.held(loaded.sample):
            work.done(loaded.sample, {"new": new, "masks": len(proposals), "turned": loaded.exif != 1})
            step(loaded.sample, failed=False)

    def fail(sample: Sample, error: str, _: float = 0.0) -> None:
        if shared.held(sample):
            work.fail(sample, error)
            step(sample, failed=True)

    def step(sample: Sample, *, failed: bool) -> None:
        if progress is not None:
            progress.step(failed=failed)
        shared.recorded(sample.id)

    def process(some: Iterable[Sample]) -> None:
        process_samples(some, load, make, save, fail, prefetch=prefetch)

    try:
        store = proposal_store(out, weights, settings)
        plan = _plan_name(dataset, samples, settings, asked or weights, overwrite)
        with StoreWork(out, plan, token) as work:
            shared = SharedWork(work.shards(samples, store.key, part=shard, shards=shards), process, fail)
            try:
                if progress is not None:
                    progress.start(len(samples), 0)
                shared.run()
            except KeyboardInterrupt:
                interrupted = True
            finally:
                if progress is not None:
                    progress.stop()
            return _result(work, out, samples, start, interrupted)
    except OSError as error:
        raise write_error(out, error) from error


@dataclass(frozen=True)
class ProposalPlan:
    """Description of a run. It loads nothing and can be pickled for other processes.

    Attributes:
        dataset: the images.
        models: the model set, for its SAM.
        settings: settings of the proposals.
        out: folder of the store.
        precision: precision of the model as the user named it.
        devices: one process runs per device; a single device is used in this process.
        cluster: the Ray cluster whose workers generate the proposals; None for the devices of this machine.
        shards: number of shards that workers take one after the other; None for the default.
        limit: process only the first ``limit`` images.
        overwrite: regenerate stored proposals.
    """

    dataset: Dataset
    models: ModelSet
    settings: ProposalSettings
    out: Path
    precision: str = "auto"
    devices: tuple[str, ...] = ("auto",)
    cluster: Cluster | None = None
    shards: int | None = None
    limit: int | None = None
    overwrite: bool = False

    @property
    def asked(self) -> str:
        """The model as the user named it."""
        return f"{self.models.names['sam']} {self.precision}"


def propose_part(
    plan: ProposalPlan, part: tuple[int, int], token: str, device: str, progress: Reporter | None
) -> ProposalRun:
    """Generate the mask proposals of part of the images on a device, perhaps together with other processes.

    Args:
        plan: the run.
        part: the part, every n-th image, (0-based index, n).
        token: identifies the command, which may have several processes.
        device: the device.
        progress: receives the progress.

    Raises:
        WsssError: an unusable model, or see ``propose``.
    """
    models = plan.models.on(device)
    return propose(
        plan.dataset,
        lambda: models.sam,
        proposal_weights(models),
        plan.settings,
        plan.out,
        limit=plan.limit,
        shard=part,
        shards=plan.shards,
        overwrite=plan.overwrite,
        asked=plan.asked,
        token=token,
        progress=progress,
    )


def execute(plan: ProposalPlan, part: tuple[int, int] = (0, 1), progress: Progress | None = None) -> ProposalRun:
    """Generate the mask proposals of part of the images, every n-th, (0-based index, n), by all workers of the plan.

    If a worker dies, another one takes over. What remains if that does not help is reported as failed, and the next
    run processes it.

    Raises:
        WsssError: see ``propose_part`` and ``engines.run_workers``.
    """
    if is_alone(plan.devices, plan.cluster):
        return propose_part(plan, part, "", plan.devices[0], progress)
    start = time.monotonic()
    samples = _part(plan.dataset, plan.limit, part)
    name = _plan_name(plan.dataset, samples, plan.settings, plan.asked, plan.overwrite)
    with StoreWork(plan.out, name, driver=True) as work:
        workers, interrupted = run_workers(
            partial(propose_part, plan, part, work.token),
            plan.dataset,
            work.file,
            devices=plan.devices,
            cluster=plan.cluster,
            progress=progress,
        )
        interrupted = interrupted or any(worker.result is not None and worker.result.interrupted for worker in workers)
        lost = next((worker.end for worker in workers if worker.end), "its process died")
        return _result(work, plan.out, samples, start, interrupted, lost)


def _part(dataset: Dataset, limit: int | None, part: tuple[int, int]) -> Sequence[Sample]:
    index, count = part
    return dataset.samples[:limit][index::count]


def _plan_name(
    dataset: Dataset, samples: Sequence[Sample], settings: ProposalSettings, asked: str, overwrite: bool
) -> str:
    """Name of the plan for these images.

    One store serves all datasets, so images with the same ids may lie elsewhere: their files are part of the name.
    """
    files = hashlib.sha256()
    for sample in () if dataset.drawn else samples:
        file = str(sample.file or "")
        files.update(f"{file if is_url(file) else os.path.abspath(file)}\n".encode("utf-8", "surrogateescape"))
    world = dataset.name, dataset.split, dataset.seed, dataset.difficulty
    content = [world, files.hexdigest(), asdict(settings), asked, overwrite]
    return plan_name(json.dumps(content, sort_keys=True), ids_of(samples))


def _result(
    work: StoreWork, out: Path, samples: Sequence[Sample], start: float, interrupted: bool, lost: str = ""
) -> ProposalRun:
    """What all processes have recorded so far.

    Args:
        work: the records.
        out: folder of the store.
        samples: the images of the run.
        start: when the run began, by the monotonic clock.
        interrupted: whether it was interrupted.
        lost: why images without a record were not processed, if all workers have ended without an interrupt.
    """
    made = skipped = empty = masks = turned = 0
    failed: dict[str, str] = {}
    for record in work.records():
        if record.status != "ok":
            failed[record.id] = record.error or ""
            continue
        made += record.evidence["new"]
        skipped += not record.evidence["new"]
        empty += not record.evidence["masks"]
        masks += record.evidence["masks"]
        turned += record.evidence["turned"]
    ids = ids_of(samples)
    if lost and not interrupted and made + skipped + len(failed) < len(ids):
        recorded = {record.id for record in work.records()}
        failed |= {id: f"not processed: {lost}; run the same command again" for id in ids if id not in recorded}
    return ProposalRun(
        out=out,
        images=len(ids),
        skipped=skipped,
        made=made,
        empty=empty,
        masks=masks,
        turned=turned,
        failed=tuple((id, failed[id]) for id in ids if id in failed) if failed else (),
        seconds=time.monotonic() - start,
        interrupted=interrupted,
    )
