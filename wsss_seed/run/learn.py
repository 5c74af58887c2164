"""Prompt learning over a dataset: the tasks in order, with coarse seeding in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import flatten, override
from ..data.base import Dataset, Sample
from ..data.images import read_labels
from ..data.orientation import turn
from ..data.voc_layout import file_name
from ..errors import DataError, ImageError, UsageError, unknown_name
from ..evaluation.evaluate import mask_folder
from ..io.curve import write_curve
from ..io.files import is_part
from ..io.lock import LOCK, Lock
from ..io.progress import Progress
from ..models.zoo import ModelSet, versions
from ..output.identity import PROMPTING, files_digest, identity, labels_digest
from ..output.run_folder import read_run, run_orientation, write_error
from ..seeding.backends import BackendRequest, build_seeder
from ..seeding.clip_sams.learn.crops import PromptTrainingData
from ..seeding.clip_sams.learn.processes import Processes
from ..seeding.clip_sams.learn.settings import LearnSettings, Task
from ..seeding.clip_sams.learn.trainer import learn
from ..seeding.clip_sams.presets import Preset
from ..seeding.clip_sams.prompts import SamRecord, save_contexts
from .generate import generate

TASKS: Mapping[str, tuple[Task, ...]] = {"cls": ("cls",), "seg": ("seg",), "both": ("cls", "seg")}


@dataclass(frozen=True)
class LearnResult:
    """The result of prompt learning.

    Attributes:
        out: the output folder.
        prompts: finished task -> file of its prompts.
        losses: task -> name of a loss -> mean over the last tenth of the iterations.
        failed: id and error of images without a coarse seed.
        turned: number of images that were turned upright according to EXIF, of those that this process read.
        interrupted: whether learning was interrupted.
    """

    out: Path
    prompts: Mapping[str, Path]
    losses: Mapping[str, Mapping[str, float]]
    failed: tuple[tuple[str, str], ...]
    turned: int
    interrupted: bool


def learn_prompts(
    dataset: Dataset,
    models: ModelSet,
    task: str,
    out: Path,
    *,
    preset: Preset,
    overrides: Mapping[str, Any] | None = None,
    seeds: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    processes: Processes | None = None,
    progress: Callable[[str, str], Progress] | None = None,
) -> LearnResult:
    """Learn the prompts of clip-sams, resuming an earlier run with the same settings.

    ``cls`` learns from image-level labels and writes OUT/cls.safetensors. ``seg`` learns from seeds and writes
    OUT/seg.safetensors. ``both`` learns cls, generates coarse seeds of the same images with it (OUT/coarse, a run
    folder), and learns seg from them. Each task also writes its loss curve (CSV and PNG) and its checkpoint.

    Args:
        dataset: the images and their labels; images without any class are left out.
        models: CLIP, and SAM for the coarse seeds.
        task: ``cls``, ``seg`` or ``both``.
        out: the folder.
        preset: the recipe.
        overrides: settings that override the preset, dotted key -> value: ``train.lr`` for all tasks, ``cls.train.lr``
            for one, ``coarse.sams.background_exponent`` for the coarse seeds.
        seeds: for ``seg`` alone: a run folder, or a folder of label maps ``<id>.png``.
        seed: random seed of initialisation, image order and augmentation.
        overwrite: start over.
        processes: the processes that share the work.
        progress: makes a progress display from verb and unit.

    Raises:
        WsssError: no labels, no seeds, unknown settings, a checkpoint with other settings, or a folder that cannot be
            used or that another process is writing to.
    """
    settings, of_coarse = _settings(task, preset, overrides or {})
    if seeds is not None and task != "seg":
        raise UsageError(f"`seeds` is for `task` seg; task {task} learns from image-level labels")
    if seeds is None and task == "seg":
        raise UsageError("task seg learns from seeds: give `seeds` a folder, or `task` both to make coarse seeds first")
    processes = processes or Processes()
    samples = labelled(dataset)
    prompts: dict[str, Path] = {}
    losses: dict[str, dict[str, float]] = {}
    failed: tuple[tuple[str, str], ...] = ()
    turned: set[str] = set()

    def upright(sample: Sample) -> np.ndarray:
        image, exif = dataset.image(sample), dataset.orientation(sample)
        if exif != 1:
            turned.add(sample.id)
        return turn(image, exif)

    def result(interrupted: bool) -> LearnResult:
        return LearnResult(out, prompts, losses, failed, len(turned), interrupted)

    with _held(out, processes):
        if task == "both":
            models.require("sam")  # fail now rather than after hours of learning
        for name in TASKS[task]:
            folder = None
            if name == "seg":
                folder = seeds
                if folder is None:
                    folder = out / "coarse"
                    run = _coarse_seeds(
                        dataset, models, prompts["cls"], folder, preset, of_coarse, overwrite, processes, progress
                    )
                    failed = run.failed
                    if run.interrupted:
                        return result(True)
                    processes.wait()
                samples = [s for s in samples if s.id not in dict(failed)]
            source = PromptTrainingData(
                samples, upright, _reader(folder, dataset) if folder else None, len(dataset.class_set.names)
            )
            sam = _sam_of(folder) if folder else None
            file = out / f"{name}.safetensors"
            about = _about(name, dataset, samples, models, settings[name], seed, folder)
            show = progress(f"learning {name}", "iteration") if progress and processes.first else None
            learned = _learn(
                name, source, dataset, models, settings[name], out, about, seed, overwrite, processes, show
            )
            curve = learned.progress.curve
            losses[name] = {
                k: float(np.mean(v[-max(1, len(v) // 10) :])) for k, v in curve.items() if k.startswith("loss") and v
            }
            if processes.first:
                try:
                    write_curve(out / name, curve)
                    if not learned.interrupted:
                        save_contexts(
                            file,
                            learned.contexts,
                            clip=models.clip,
                            class_set=dataset.class_set,
                            settings=about,
                            sam=sam,
                        )
                except OSError as error:
                    raise write_error(out, error) from error
            if learned.interrupted:
                return result(True)
            prompts[name] = file
            processes.wait()
        return result(False)


@contextmanager
def _held(out: Path, processes: Processes) -> Iterator[None]:
    """Lock the folder; with ``accelerate launch``, the first process locks it for all."""
    if not processes.first:
        processes.wait()  # until the first process holds the lock
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = Lock(out / LOCK)
    except OSError as error:
        raise write_error(out, error) from error
    try:
        if not lock.take(shared=False):
            raise UsageError(f"{out}: another learn-prompts is writing here; let it end or choose another `out`")
        for part in filter(is_part, out.iterdir()):  # not in the run folder of the coarse seeds, which has its own lock
            part.unlink(missing_ok=True)
        processes.wait()
        yield
    finally:
        lock.close()


def processes_for(task: str, preset: Preset, overrides: Mapping[str, Any]) -> Processes:
    """The processes of this launch.

    Raises:
        WsssError: more processes than micro-batches per iteration, or wrong settings.
    """
    settings, _ = _settings(task, preset, overrides)
    return Processes.launched(min(s.train.gradient_accumulation_steps for s in settings.values()))


def labelled(dataset: Dataset) -> list[Sample]:
    """The samples whose image-level labels have at least one class.

    Raises:
        WsssError: no such sample.
    """
    samples = [s for s in dataset if s.labels] if dataset.labels_source is not None else []
    if not samples:
        raise DataError(
            f"{dataset.name} {dataset.split}: no image-level labels to learn prompts from; give `labels` a file"
        )
    return samples


def _settings(
    task: str, preset: Preset, overrides: Mapping[str, Any]
) -> tuple[dict[Task, LearnSettings], dict[str, Any]]:
    """The settings of each task, and the user's settings for the coarse seeds."""
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    groups: dict[str, dict[str, Any]] = {name: {} for name in (*TASKS["both"], "coarse", "")}
    for key, value in overrides.items():
        group, _, rest = key.partition(".")
        groups[group if group in groups else ""][rest if group in groups else key] = value
    if groups["coarse"] and task != "both":
        raise UsageError("settings of coarse seeds are for `task` both")
    learn_settings = {
        name: override(override(LearnSettings(), preset.learn.get(name, {})), {**groups[""], **groups[name]})
        for name in TASKS[task]
    }
    return learn_settings, groups["coarse"]


def _about(
    task: Task,
    dataset: Dataset,
    samples: Sequence[Sample],
    models: ModelSet,
    settings: LearnSettings,
    seed: int,
    seeds: Path | None,
) -> dict[str, Any]:
    """Everything that determines the outcome of a task, as JSON values."""
    digest = None
    if seeds is not None:
        masks, layout = mask_folder(seeds)
        digest = files_digest(masks / f"{file_name(sample.id, layout)}.png" for sample in samples)
    return identity(
        dataset,
        {"name": "learn-prompts", **flatten(settings)},
        models,
        ["clip"],
        class_keys=PROMPTING,
        labels=labels_digest(samples),
        task=task,
        images=len(samples),
        seeds=digest,
        seed=seed,
    )


def _learn(
    task: Task,
    source: PromptTrainingData,
    dataset: Dataset,
    models: ModelSet,
    settings: LearnSettings,
    out: Path,
    about: Mapping[str, Any],
    seed: int,
    overwrite: bool,
    processes: Processes,
    show: Progress | None,
) -> Any:
    path = out / f"{task}.checkpoint"
    try:
        if overwrite and processes.first:
            path.unlink(missing_ok=True)
        processes.wait()
        train, began = settings.train, False

        def step(iteration: int, losses: Mapping[str, float]) -> None:
            nonlocal began
            if show is not None:
                if not began:
                    show.start(min(train.stop_iter or train.max_iters, train.max_iters), iteration - 1)
                    began = True
                show.step(note=f"loss {sum(losses.values()):.4f}")

        try:
            return learn(
                task,
                models.clip,
                dataset.class_set,
                source,
                settings,
                path=path,
                about=about,
                seed=seed,
                processes=processes,
                step=step,
            )
        finally:
            if show is not None:
                show.stop()
    except OSError as error:
        raise write_error(out, error) from error


def _coarse_seeds(
    dataset: Dataset,
    models: ModelSet,
    prompts: Path,
    out: Path,
    preset: Preset,
    overrides: Mapping[str, Any],
    overwrite: bool,
    processes: Processes,
    progress: Callable[[str, str], Progress] | None,
) -> Any:
    """Run clip-sams with the prompts just learned, one shard per process."""
    options = {"preset": preset.name, "prompts": str(prompts), "stage": "coarse"}
    seeder = build_seeder("clip-sams", BackendRequest(dataset.class_set, models, overrides), options)
    return generate(
        dataset,
        seeder,
        out,
        settings=identity(dataset, {"name": "clip-sams", **seeder.settings}, models, ["clip", "sam"]),
        about={"versions": versions(), "device": models.device, "weights": models.weights()},
        shard=(processes.index, processes.count),
        overwrite=overwrite,
        progress=progress("seeding", "image") if progress else None,
    )


def _sam_of(seeds: Path) -> SamRecord | None:
    """The SAM that made the seeds of a run folder; None for other folders."""
    run = read_run(seeds)
    if run is None:
        return None
    weights, models = run.get("weights"), run["settings"].get("models")
    about = weights.get("sam") if isinstance(weights, dict) else None
    name = about.get("name") if isinstance(about, dict) else None
    identity = models.get("sam") if isinstance(models, dict) else None
    return SamRecord(name, identity) if isinstance(name, str) and isinstance(identity, str) else None


def _reader(folder: Path, dataset: Dataset) -> Callable[[Sample], np.ndarray]:
    """A function that reads the seed of a sample, upright, and checks its labels."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of seeds; give `seeds` a run folder")
    masks, layout = mask_folder(folder)
    classes = len(dataset.class_set.names)
    upright = run_orientation(folder) == "upright"

    def read(sample: Sample) -> np.ndarray:
        path = masks / f"{file_name(sample.id, layout)}.png"
        labels = read_labels(path)
        beyond = labels[(labels > classes) & (labels != 255)]
        if len(beyond):
            raise ImageError(f"{path}: label {beyond[0]}, beyond the {classes} classes of '{dataset.class_set.name}'")
        return labels if upright else turn(labels, dataset.orientation(sample))

    return read
