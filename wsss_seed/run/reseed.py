"""Seeding again with other settings, from the model outputs that a run has stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..data.base import Dataset, Sample
from ..data.classes import ClassSet
from ..data.images import read_rgb
from ..data.orientation import Orientation
from ..errors import ImageError, RunFolderError, UsageError
from ..io.progress import Reporter
from ..models.outputs import read_orientation, read_texts
from ..models.recorder import Memory, kept_models
from ..models.zoo import usable_device, versions
from ..output.finished import FinishedRun, open_run
from ..output.identity import class_set_from_content
from ..output.run_folder import OUTPUTS, image_path, outputs_path, texts_path
from ..seeding.backends import BackendRequest, build_seeder, changed_settings
from ..seeding.detection.replay import check_replayable
from .generate import RunResult, generate
from .model_outputs import ReplayingSeeder


class _Settings(msgspec.Struct):
    """The settings in the ``run.json`` of a run with stored model outputs."""

    dataset: dict[str, Any]
    class_set: dict[str, Any]
    backend: dict[str, Any]
    models: dict[str, str]
    precision: str
    labels: str
    orientation: Orientation


class RunImages(Dataset):
    """The finished images of a run folder, with the image-level labels they were seeded with."""

    def __init__(self, run: FinishedRun, class_set: ClassSet, settings: _Settings) -> None:
        self.path, self.layout = run.path, run.layout
        self.name = str(settings.dataset.get("name"))
        self.split = run.split
        self.class_set = class_set
        self.labels_source = None if settings.labels == "none" else str(run.path)
        index = {name: i for i, name in enumerate(class_set.names)}
        self.samples = []
        for record in run.records:
            labels = None if record.labels is None else tuple(sorted(index[name] for name in record.labels))
            image = image_path(run.path, record.id, run.layout)
            self.samples.append(
                Sample(record.id, Path(os.path.realpath(image)) if image.is_symlink() else None, labels)
            )
        self._models = {**settings.models, "precision": settings.precision}
        self._stored = settings.orientation == "stored"

    def image(self, sample: Sample) -> np.ndarray:
        """The image in the run folder, uint8 (H, W, 3), in the orientation of the masks."""
        return read_rgb(image_path(self.path, sample.id, self.layout))

    def orientation(self, sample: Sample) -> int:
        """EXIF orientation in which the models saw the image; 1 if the run folder holds it upright."""
        return read_orientation(outputs_path(self.path, sample.id, self.layout), self._models) if self._stored else 1


def reseed(
    run: Path,
    out: Path,
    settings: Mapping[str, Any],
    *,
    device: str = "auto",
    overwrite: bool = False,
    command: str = "",
    progress: Reporter | None = None,
) -> RunResult:
    """Seed the images of a run again with other settings, without loading a model.

    The new run folder equals that of ``generate`` with these settings, which can resume it. Images whose stored outputs
    do not suffice are recorded as failed.

    Args:
        run: a run folder of ``generate`` with ``keep_evidence``.
        out: the new run folder.
        settings: changed settings of the backend, dotted key -> value.
        device: device on which masks are upsampled; masks are equal to the last bit on the device of the run only.
        overwrite: replace a run in ``out`` with other settings.
        command: the command line, for the record.
        progress: receives the progress.

    Raises:
        RunFolderError: not a run folder, or its model outputs are missing or of other weights.
        UsageError: an unknown setting, or one that needs outputs that are never kept.
    """
    if out.absolute() == run.absolute() or (out.exists() and run.exists() and out.samefile(run)):
        raise UsageError(f"{out}: the run to seed again; choose another `out`")
    former = open_run(run)
    if not (run / OUTPUTS).is_dir():
        raise RunFolderError(f"{run}: has no model outputs; run generate with `keep_evidence`")
    try:
        known = msgspec.convert(former.about["settings"], _Settings)
        class_set = class_set_from_content(known.class_set, str(former.about.get("class_set") or "custom"))
        data = RunImages(former, class_set, known)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError):
        raise RunFolderError(
            f"{run}: not a run of generate whose settings can be read; seed its images again"
        ) from None
    models = {**known.models, "precision": known.precision}
    try:
        texts, logit_scale = read_texts(texts_path(run), models)
    except ImageError as error:
        raise RunFolderError(str(error)) from None
    memory = Memory(asks=False, texts=texts, logit_scale=logit_scale)
    backend = str(known.backend.pop("name"))
    device = usable_device(device)
    request = BackendRequest(class_set, kept_models(memory, device), {**known.backend, **settings})
    seeder = build_seeder(backend, request)
    check_replayable(seeder.settings)
    identity = {key: value for key, value in former.about["settings"].items() if key != "orientation"}
    return generate(
        data,
        ReplayingSeeder(seeder, memory, run, models, former.layout),
        out,
        settings={**identity, "backend": {"name": backend, **seeder.settings}},
        about={
            **{key: former.about.get(key) for key in ("class_set", "labels", "weights")},
            "versions": versions(),
            "device": device,
            "command": command,
            "reseeded_from": str(run),
            "changed": changed_settings(backend, seeder.settings),
        },
        orientation=known.orientation,
        layout=former.layout,
        overwrite=overwrite,
        progress=progress,
    )
