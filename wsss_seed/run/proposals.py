"""Generating and storing the mask proposals of a dataset."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..data.base import Dataset, Sample
from ..data.orientation import turn
from ..io.progress import Progress
from ..output.run_folder import write_error
from ..proposals.generate import ProposalSettings, generate_proposals, proposal_store
from ..proposals.store import Proposals
from .loop import process_samples

if TYPE_CHECKING:
    from ..models.masks import MaskModel


@dataclass(frozen=True)
class ProposalRun:
    """The result of ``propose``.

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
    overwrite: bool = False,
    progress: Progress | None = None,
    prefetch: int = 2,
) -> ProposalRun:
    """Generate the mask proposals that are not stored yet.

    Stored proposals are of the upright images and addressed by their content, weights and settings, so a run needs no
    state of its own: an interrupted run resumes, a damaged file is regenerated, and different settings never mix.

    Args:
        dataset: the images; its ``image`` is called from threads.
        sam: returns the model; called only for images without stored proposals.
        weights: identifies the model's weights.
        settings: settings of the proposals.
        out: folder of the store.
        limit: process only the first ``limit`` images of the dataset.
        shard: process only every n-th of them, (0-based index, n).
        overwrite: regenerate stored proposals.
        progress: receives the progress.
        prefetch: number of images to decode ahead.

    Raises:
        WsssError: the folder cannot be written to.
    """
    start = time.monotonic()
    index, count = shard
    samples = dataset.samples[:limit][index::count]
    counting = threading.Lock()
    failed: dict[str, str] = {}
    made = skipped = empty = masks = turned = 0
    interrupted = False

    def load(sample: Sample) -> _Loaded:
        image, exif = dataset.image(sample), dataset.orientation(sample)
        image = turn(image, exif)
        path = store.path(image)
        return _Loaded(image, exif, path, None if overwrite else store.read(path, (image.shape[0], image.shape[1])))

    def make(loaded: _Loaded) -> Proposals:
        if loaded.found is not None:
            return loaded.found
        return generate_proposals(sam(), loaded.image, settings)

    def save(loaded: _Loaded, proposals: Proposals, _: float) -> None:
        nonlocal made, skipped, empty, masks, turned
        if loaded.found is None:
            store.write(loaded.path, proposals)
        with counting:
            made += loaded.found is None
            skipped += loaded.found is not None
            empty += not len(proposals)
            masks += len(proposals)
            turned += loaded.exif != 1
            if progress is not None:
                progress.step(failed=False)

    def fail(sample: Sample, error: str, _: float) -> None:
        with counting:
            failed[sample.id] = error
            if progress is not None:
                progress.step(failed=True)

    try:
        if progress is not None:
            progress.start(len(samples), 0)
        store = proposal_store(out, weights, settings)
        process_samples(samples, load, make, save, fail, prefetch=prefetch)
    except KeyboardInterrupt:
        interrupted = True
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        if progress is not None:
            progress.stop()
    return ProposalRun(
        out=out,
        images=len(samples),
        skipped=skipped,
        made=made,
        empty=empty,
        masks=masks,
        turned=turned,
        failed=tuple((sample.id, failed[sample.id]) for sample in samples if sample.id in failed),
        seconds=time.monotonic() - start,
        interrupted=interrupted,
    )
