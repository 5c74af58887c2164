"""Prediction as data: each process that takes part loads the segmenter from the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..config import flatten
from ..data.base import Dataset
from ..data.orientation import Orientation
from ..data.voc_layout import Layout
from ..io.progress import Progress, Reporter
from ..io.source import Location
from ..models.zoo import ModelSet, versions
from ..output.identity import identity
from ..proposals.generate import ProposalSettings
from ..seeding.clip_sams import cached_proposals
from ..segmenter.checkpoint import Segmenter, load_segmenter
from ..segmenter.predict import Predictor, PredictSettings
from .engines import is_alone, share
from .generate import RunResult, generate
from .on_ray import Cluster


@dataclass(frozen=True)
class PredictPlan:
    """Description of a run of ``predict``. It loads nothing and can be pickled for other processes.

    Attributes:
        dataset: the images.
        checkpoint: the segmenter.
        settings: how it predicts.
        models: the model set, for its device and its SAM.
        proposals: settings of the mask proposals that sharpen outlines; None for no sharpening.
        out: the run folder.
        devices: one process runs per device; a single device is used in this process.
        cluster: the Ray cluster whose workers predict; None for the devices of this machine.
        shards: number of shards that workers take one after the other; None for the default.
        limit: predict only the first ``limit`` images.
        orientation: what the label maps match.
        layout: how the files of the run folder are named; see ``RunFolder``.
        overwrite: predict finished images again.
        command: the command line, for the record.
    """

    dataset: Dataset
    checkpoint: Path
    settings: PredictSettings
    models: ModelSet
    out: Location
    proposals: ProposalSettings | None = None
    devices: tuple[str, ...] = ("auto",)
    cluster: Cluster | None = None
    shards: int | None = None
    limit: int | None = None
    orientation: Orientation = "stored"
    layout: Layout | None = None
    overwrite: bool = False
    command: str = ""


def predict_part(
    plan: PredictPlan,
    segmenter: Segmenter | None,
    part: tuple[int, int],
    token: str,
    device: str,
    progress: Reporter | None,
) -> RunResult:
    """Load the segmenter on a device and predict images, perhaps together with other processes.

    Args:
        plan: the run.
        segmenter: that of the plan, if it has been loaded.
        part: the part, every n-th image, (0-based index, n).
        token: identifies the command, which may have several processes.
        device: the device.
        progress: receives the progress.

    Raises:
        WsssError: an unusable checkpoint or model, or see ``generate``.
    """
    data, models = plan.dataset, plan.models.on(device)
    segmenter = segmenter or load_segmenter(plan.checkpoint)
    segmenter.network.to(models.device)
    proposals, record, sam = None, dict[str, Any](), dict[str, Any]()
    if plan.proposals is not None:
        proposals = cached_proposals(models, plan.proposals)
        record = {f"proposals.{key}": value for key, value in flatten(plan.proposals).items()}
        sam = {"sam": models.weights()["sam"]}
    predictor = Predictor(segmenter, plan.settings, proposals, record)
    about: Mapping[str, Any] = {
        "versions": versions(),
        "device": models.device,
        "command": plan.command,
        "class_set": data.class_set.name,
        "weights": sam,
        "checkpoint": str(plan.checkpoint),
        "training": segmenter.history,
    }
    return generate(
        data,
        predictor,
        plan.out,
        settings=identity(data, {"name": "segmenter", **predictor.settings}, models if sam else None, ["sam"]),
        about=about,
        limit=plan.limit,
        shard=part,
        shards=plan.shards,
        orientation=plan.orientation,
        layout=plan.layout,
        overwrite=plan.overwrite,
        token=token,
        progress=progress,
    )


def predict(
    plan: PredictPlan,
    part: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
    segmenter: Segmenter | None = None,
) -> RunResult:
    """Predict part of the images, every n-th, (0-based index, n); see ``engines.share``.

    Args:
        plan: the run.
        part: the part.
        progress: receives the progress.
        segmenter: that of the plan, if it has been loaded; used if this process is the only worker.

    Raises:
        WsssError: see ``predict_part``.
    """
    loaded = segmenter if is_alone(plan.devices, plan.cluster) else None
    return share(
        partial(predict_part, plan, loaded),
        plan.dataset,
        plan.dataset.samples[: plan.limit],
        plan.out,
        part=part,
        devices=plan.devices,
        cluster=plan.cluster,
        progress=progress,
    )
