"""A run as data: each process that takes part in it loads its models from the plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..data.base import Dataset, Sample
from ..data.orientation import Orientation, check_orientation
from ..data.selection import check_selection, select
from ..data.voc_layout import Layout, check_layout, layout_of
from ..errors import UsageError, unknown_name
from ..io.progress import Progress, Reporter
from ..io.source import Location, Source
from ..models.zoo import ModelSet, model_sets, versions
from ..output.identity import identity, labels_digest
from ..output.run_folder import read_run
from ..seeding.backends import BackendRequest, build_seeder, changed_settings
from ..types import Seeder
from .engines import share
from .generate import RunResult, generate
from .model_outputs import KeepingSeeder, RecordingSeeder, models_identity, outputs_kept
from .on_ray import Cluster

log = logging.getLogger(__name__)

_BATCHED = "dino-sam"  # the backend whose models merge calls, see models.merging
_GPU_BATCH = 8


@dataclass(frozen=True)
class RunPlan:
    """Description of a run. It loads nothing and can be pickled for other processes.

    Attributes:
        dataset: the images.
        models: the model set, adapted to the backend.
        backend: name of the backend.
        settings: the user's settings of the backend, dotted key -> value.
        out: the run folder.
        options: options that only this backend has, e.g. the prompts of clip-sams.
        devices: one process runs per device; a single device is used in this process.
        limit: seed only the first ``limit`` images.
        sample: seed only this many random images; see ``data.selection.select``.
        seed: random seed of ``sample``.
        orientation: what the masks match.
        overwrite: seed finished images again.
        keep_evidence: keep the outputs of the models in the run folder, for ``run.reseed``.
        command: the command line, for the record.
        shards: number of shards that processes take one after the other; None for the default.
        cluster: the Ray cluster whose workers seed the images; None for the devices of this machine.
        batch: number of images processed together; None for 8 on a GPU and 1 on a CPU, where more brings nothing.
        layout: how the files of the run folder are named; see ``RunFolder``.
    """

    dataset: Dataset
    models: ModelSet
    backend: str
    settings: Mapping[str, Any]
    out: Location
    options: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ("auto",)
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    orientation: Orientation = "stored"
    overwrite: bool = False
    keep_evidence: bool = False
    command: str = ""
    shards: int | None = None
    cluster: Cluster | None = None
    batch: int | None = None
    layout: Layout | None = None

    @property
    def samples(self) -> Sequence[Sample]:
        """The images to seed."""
        return select(self.dataset.samples, self.limit, self.sample, self.seed)


def plan_run(
    dataset: Dataset,
    *,
    backend: str | None = None,
    models: str | None = None,
    chosen: Mapping[str, str | None] | None = None,
    options: Mapping[str, str | None] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    out: Location | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    orientation: str = "stored",
    overwrite: bool = False,
    keep_evidence: bool = False,
    command: str = "",
    shards: int | None = None,
    cluster: Cluster | None = None,
    batch: int | None = None,
    layout: str | None = None,
) -> RunPlan:
    """Make a plan, with defaults for backend, models and folder.

    Args:
        dataset: the images.
        backend: ``clip-sams`` by default where one of its options is given, else the one that the model set is made
            for, or ``dino-sam``.
        models: name of the model set; see ``choose_models``.
        chosen: role (``clip``, ``sam``, ``detector``) -> model to use instead of the model set's.
        options: options that only this backend has: ``preset``, and ``prompts`` and ``stage`` of clip-sams.
        settings: settings of the backend, dotted key -> value.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, or several, separated by commas.
        precision: ``fp32``, ``bf16``, ``fp16``, ``sam-bf16`` or ``auto``.
        compile: see ``ModelSet``.
        out: ``seeds/DATASET-SPLIT`` by default.
        limit, sample, seed, orientation, overwrite, keep_evidence, command, shards, cluster, batch, layout: see
            ``RunPlan``.

    Raises:
        WsssError: unknown names.
    """
    check_selection(limit, sample)
    if keep_evidence and isinstance(out, Source):
        raise UsageError("--keep-evidence needs a local folder; give one as `out`")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    devices = split_devices(device)
    backend, model_set = choose_backend(
        backend, models, dataset.class_set.name, devices[0], precision, chosen=chosen, options=given, compile=compile
    )
    return RunPlan(
        dataset=dataset,
        models=model_set,
        backend=backend,
        settings=settings or {},
        out=out or Path("seeds") / f"{dataset.name}-{dataset.split}",
        options=given,
        devices=tuple(devices),
        limit=limit,
        sample=sample,
        seed=seed,
        orientation=check_orientation(orientation),
        overwrite=overwrite,
        keep_evidence=keep_evidence,
        command=command,
        shards=shards,
        cluster=cluster,
        batch=check_batch(batch, backend, keep_evidence=keep_evidence),
        layout=check_layout(layout),
    )


def check_batch(batch: int | None, backend: str, *, keep_evidence: bool = False) -> int | None:
    """The batch size; 1 where images can only be processed one by one. Raises WsssError if more are wanted then."""
    if batch is not None and batch < 1:
        raise UsageError(f"`batch` {batch}: expected at least 1, or auto")
    if backend == _BATCHED and not keep_evidence:
        return batch
    if batch not in (None, 1):
        why = "`keep_evidence` records" if backend == _BATCHED else f"{backend} processes"
        raise UsageError(f"`batch` {batch}: {why} one image at a time; leave out `batch`")
    return 1


def batch_on(device: str, batch: int | None) -> int:
    """The number of images processed together on a device; None for the default."""
    return batch or (_GPU_BATCH if device.startswith("cuda") else 1)


def choose_backend(
    backend: str | None,
    models: str | None,
    class_set: str,
    device: str,
    precision: str,
    *,
    chosen: Mapping[str, str | None] | None,
    options: Mapping[str, str],
    compile: bool = False,
) -> tuple[str, ModelSet]:
    """The backend, by default ``clip-sams`` if one of its options is given, else the one that the model set is made
    for, or ``dino-sam``; and its models, see ``choose_models``. A preset without other options selects the backend that
    has it.

    Raises:
        WsssError: unknown names, or a file of prompts that cannot be read.
    """
    if backend is None:
        chosen_set = model_sets().get(models or "")
        backend = _backend_of(options) or (chosen_set and chosen_set.backend) or "dino-sam"
    own = options if backend == "clip-sams" else {}
    model_set = choose_models(models, class_set, device, precision, chosen=chosen, options=own, compile=compile)
    return backend, model_set.for_backend(backend)


def _backend_of(options: Mapping[str, str]) -> str | None:
    """The backend that alone has these options; None without options."""
    from ..seeding.clip_sams.presets import presets
    from ..seeding.dino_sam.settings import PRESETS

    preset = options.get("preset")
    if preset is not None and preset not in (*PRESETS, *presets()):
        raise unknown_name("preset", preset, [*PRESETS, *presets()])
    if not options:
        return None
    return "dino-sam" if len(options) == 1 and preset in PRESETS else "clip-sams"


def choose_models(
    name: str | None,
    class_set: str,
    device: str = "auto",
    precision: str = "auto",
    *,
    chosen: Mapping[str, str | None] | None = None,
    options: Mapping[str, str] | None = None,
    compile: bool = False,
) -> ModelSet:
    """The model set for a class set.

    Args:
        name: name of the model set; None for ``tiny`` with toyland's classes, else ``base``.
        class_set: name of the class set.
        device: device to run on.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``auto``.
        chosen: role -> model to use instead of the model set's.
        options: ``prompts``, ``preset`` and ``stage`` of clip-sams. If ``name`` is None, the models of the preset
            replace those of the default set; without a preset, the SAM of the seeds that the prompts were learned from.
        compile: see ``ModelSet``.

    Raises:
        WsssError: unknown names, or a file of prompts that cannot be read.
    """
    own: Mapping[str, str] = {}
    given = options or {}
    if name is None and "preset" in given:
        from ..seeding.clip_sams.presets import load_preset

        own = load_preset(given["preset"]).models
    elif name is None and "prompts" in given and not (chosen or {}).get("sam"):
        from ..seeding.clip_sams.prompts_source import learned_sam

        learned = learned_sam(given["prompts"], given.get("stage"))
        own = {"sam": learned.name} if learned else {}
    models: dict[str, str | None] = {**own, **{role: model for role, model in (chosen or {}).items() if model}}
    for role in models:
        if role not in ("clip", "sam", "detector"):
            raise UsageError(f"unknown model role '{role}'; known: clip, detector, sam")
    return ModelSet(
        name or ("tiny" if class_set == "toyland" else "base"),
        device,
        clip=models.get("clip"),
        sam=models.get("sam"),
        detector=models.get("detector"),
        precision=precision,
        compile=compile,
    )


def world_warning(models: ModelSet, class_set: str) -> str | None:
    """The warning for models that were trained on another domain than the class set's; None if there is no reason."""
    if not models.world or models.world == class_set:
        return None
    return (
        f"the models of '{models.name}' were trained on {models.world} only: these masks show that the installation "
        "works, not how good the method is; use the model set base for photographs"
    )


def prompts_warning(backend: str, models: ModelSet, options: Mapping[str, str]) -> str | None:
    """The warning for prompts of clip-sams that were learned from seeds of another SAM; None if there is no reason."""
    if backend != "clip-sams" or "prompts" not in options:
        return None
    from ..seeding.clip_sams.prompts_source import sam_warning

    return sam_warning(options["prompts"], options.get("stage"), models)


def model_warnings(backend: str, models: ModelSet, class_set: str, options: Mapping[str, str]) -> list[str]:
    """What the user should know of the models before a run."""
    found = world_warning(models, class_set), prompts_warning(backend, models, options)
    return [text for text in found if text is not None]


def split_devices(text: str) -> list[str]:
    """The devices of a comma-separated list, e.g. ``cuda:0,cuda:1``."""
    devices = [part.strip() for part in text.split(",")]
    if not all(devices):
        raise UsageError(f"`device` {text}: expected a device, or several as in cuda:0,cuda:1")
    return devices


def run_part(plan: RunPlan, part: tuple[int, int], token: str, device: str, progress: Reporter | None) -> RunResult:
    """Load the models on a device and seed part of the images, perhaps together with other processes.

    Args:
        plan: the run.
        part: the part, every n-th image, (0-based index, n).
        token: identifies the command, which may have several processes.
        device: the device.
        progress: receives the progress.

    Raises:
        WsssError: unusable models or settings, or see ``generate``.
    """
    start = time.monotonic()
    data, models = plan.dataset, plan.models.on(device)
    if not plan.overwrite:
        models = models.resuming(((read_run(plan.out) or {}).get("settings") or {}).get("precision"))
    kept = _kept_in(plan)
    seeder = _seeder(plan, models, kept)
    log.info("%s on %s is ready after %.1f s", plan.backend, models.device, time.monotonic() - start)
    for checkpoint in models.seen(data.name):
        if progress is not None:
            progress.warn(
                f"{checkpoint.name} was trained on annotations of {data.name} ({checkpoint.data}): results on "
                f"{data.name} that use it are neither label-free nor weakly supervised"
            )
    return generate(
        data,
        seeder,
        plan.out,
        settings=identity(data, {"name": plan.backend, **seeder.settings}, models),
        about={
            "versions": versions(),
            "device": models.device,
            "command": plan.command,
            "class_set": data.class_set.name,
            "labels": {"source": data.labels_source, "sha256": labels_digest(data)},
            "weights": models.weights(),
            "changed": changed_settings(plan.backend, seeder.settings),
        },
        limit=plan.limit,
        sample=plan.sample,
        seed=plan.seed,
        shard=part,
        shards=plan.shards,
        orientation=plan.orientation,
        layout=plan.layout,
        overwrite=plan.overwrite,
        token=token,
        batch=batch_on(models.device, plan.batch),
        complete=None if kept is None else outputs_kept(*kept),
        progress=progress,
    )


def _kept_in(plan: RunPlan) -> tuple[Path, Layout] | None:
    """The folder in which the outputs of the models are kept, and its layout; None if they are not."""
    if not plan.keep_evidence or not isinstance(plan.out, Path):
        return None
    return plan.out, plan.layout or layout_of(plan.out)


def _seeder(plan: RunPlan, models: ModelSet, kept: tuple[Path, Layout] | None) -> Seeder:
    data = plan.dataset
    if kept is None:
        return build_seeder(plan.backend, BackendRequest(data.class_set, models, plan.settings), plan.options)
    recording = RecordingSeeder(
        plan.backend, data.class_set, models, plan.settings, options=plan.options, orientation=data.orientation
    )
    folder, layout = kept
    return KeepingSeeder(recording, folder, models_identity(models), layout)


def execute(plan: RunPlan, part: tuple[int, int] = (0, 1), progress: Progress | None = None) -> RunResult:
    """Seed part of the images, every n-th, (0-based index, n); see ``engines.share``.

    Raises:
        WsssError: see ``run_part``.
    """
    work = partial(run_part, plan)
    return share(
        work,
        plan.dataset,
        plan.samples,
        plan.out,
        part=part,
        devices=plan.devices,
        cluster=plan.cluster,
        progress=progress,
    )
