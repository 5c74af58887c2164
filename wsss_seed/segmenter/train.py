"""Trains a segmenter on a folder of masks: checks, training, evaluation, records."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import __version__
from ..config import flatten
from ..data.base import Dataset
from ..data.orientation import turn
from ..errors import RunFolderError
from ..evaluation import metrics
from ..evaluation.confusion import confusion_matrix, joint_histogram
from ..io.files import is_part, remove_parts, write_json
from ..io.lock import LOCK, LOCK_WAIT, Lock
from ..output.identity import identity
from ..output.run_folder import write_error
from .checkpoint import Segmenter, load_segmenter
from .masks import Checked, check_masks
from .settings import Recipe
from .trainer import BEST, LAST, METRICS, TrainingState, build_accelerator, first_network, train

if TYPE_CHECKING:
    from ..io.progress import Progress as Shown

TRAINING = "training.json"


@dataclass(frozen=True)
class Score:
    """Evaluation of a segmenter.

    Attributes:
        miou: mean IoU over the classes with ground-truth pixels, background included.
        per_class_iou: IoU by class name; None for a class without ground-truth pixels.
        pixel_accuracy: share of pixels that are correct.
        images: number of images.
    """

    miou: float
    per_class_iou: Mapping[str, float | None]
    pixel_accuracy: float
    images: int


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    Attributes:
        out: output folder.
        last: checkpoint after the last iteration.
        best: checkpoint with the highest mIoU on the validation split; None without one.
        iterations: completed iterations.
        miou, best_miou: mIoU of ``last`` and ``best``; None without a validation split.
        best_iteration: iteration of ``best``.
        empty: ids of masks that were left out because they have no labelled pixel.
        seconds: wall time of this call.
        first: whether this is the process that writes and reports.
        interrupted: whether training was interrupted before its end.
    """

    out: Path
    last: Path
    best: Path | None
    iterations: int
    miou: float | None
    best_miou: float | None
    best_iteration: int
    empty: tuple[str, ...]
    seconds: float
    first: bool
    interrupted: bool


def train_segmenter(
    data: Dataset,
    out: Path,
    recipe: Recipe,
    *,
    weights: str | None = None,
    val: Dataset | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Callable[[str, str], Shown] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> TrainResult:
    """Train a segmenter on masks, resuming an earlier run with the same settings.

    Args:
        data: images and masks: a run folder or VOC tree opened as dataset ``voc``, or any dataset with label maps.
        out: output folder.
        recipe: the settings.
        weights: encoder weights instead of the recipe's.
        val: a dataset with ground truth, on which the best checkpoint is selected.
        seed: random seed of initial weights, order, crops and dropout.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: worker processes that make crops.
        overwrite: start over.
        progress: creates a progress display from verb and unit.
        say: called with a summary before training starts.

    Raises:
        WsssError: invalid masks, settings, weights or folder, or a checkpoint written with other settings.
    """
    start = time.monotonic()
    weights = recipe.weights if weights is None else weights
    if val is not None:
        _check_val(data, val)
    if recipe.settings.train.confidence_weighting and recipe.settings.network.name == "mask2former":
        raise RunFolderError("mask2former has a loss per mask, not per pixel; leave train.confidence_weighting out")
    accelerator = build_accelerator(recipe.settings, device)
    first = accelerator.is_main_process
    show = progress("checking", "mask") if progress and first else None
    if show is not None:
        show.start(len(data), 0)
    try:
        checked = check_masks(
            data, confidence=recipe.settings.train.confidence_weighting, step=show.step if show is not None else None
        )
    finally:
        if show is not None:
            show.stop()
    about = _about(data, checked, recipe, weights, val, seed)
    try:
        with _Folder(out, overwrite, first):
            accelerator.wait_for_everyone()
            # A resumed run takes its weights from the checkpoint, so pretrained ones are not needed again.
            resumed = (out / LAST).exists()
            network = first_network(recipe, "none" if resumed else weights, len(data.class_set.names) + 1, seed)
            if first:
                say(_summary(data, checked, recipe, weights, network, accelerator))
                _record(out, about, None)
            state, interrupted = _run(
                network, checked, data, recipe, out, about, accelerator, val, seed, workers, progress
            )
            miou = state.curve["miou"][-1] if state.curve else float("nan")
            result = TrainResult(
                out=out,
                last=out / LAST,
                best=None if val is None or state.best != state.best else out / BEST,
                iterations=state.iteration,
                miou=None if miou != miou else miou,
                best_miou=None if state.best != state.best else state.best,
                best_iteration=state.best_iteration,
                empty=checked.empty,
                seconds=time.monotonic() - start,
                first=first,
                interrupted=interrupted,
            )
            if first and not interrupted:
                _record(out, about, result)
            accelerator.wait_for_everyone()
            return result
    except OSError as error:
        raise write_error(out, error) from error
    except torch.OutOfMemoryError:
        raise RunFolderError(
            f"{out}: out of GPU memory; progress is kept. More accumulation steps need less memory, but are another "
            "setting: `train.gradient_accumulation_steps`=2 `overwrite`"
        ) from None


def score(
    segmenter: Segmenter,
    data: Dataset,
    share: tuple[int, int] = (0, 1),
    reduce: Any = None,
    step: Callable[[], None] = lambda: None,
) -> Score:
    """Evaluate a segmenter on whole images at their original size, with one confusion matrix over all of them.

    Args:
        segmenter: a segmenter with the classes of the dataset.
        data: a dataset with ground truth.
        share: (index, n): each of n processes takes every n-th image.
        reduce: sums the counts, int64 (256, 256), over all processes.
        step: called after each image of this process.
    """
    histogram = np.zeros((256, 256), np.int64)
    for i in range(share[0], len(data), share[1]):
        sample = data[i]
        truth = data.mask(sample)
        if truth is None:
            raise RunFolderError(f"{sample.id}: no ground truth in {data.name} {data.split}; remove it from the list")
        [logits] = segmenter.logits([data.upright(sample)])
        labels = logits.argmax(0).to(torch.uint8).cpu().numpy()
        truth = turn(truth, data.orientation(sample))
        if labels.shape != truth.shape:
            raise RunFolderError(f"{sample.mask or sample.id}: ground truth and image differ in size")
        histogram += joint_histogram(truth, labels)
        step()
    if reduce is not None:
        histogram = reduce(histogram)
    names = ("background", *segmenter.class_set.names)
    confusion = metrics.resolve_ignored(confusion_matrix(histogram, len(names)), "background")
    iou = metrics.iou(confusion)
    return Score(
        miou=float(metrics.mean(iou)),
        per_class_iou={n: None if v != v else float(v) for n, v in zip(names, iou, strict=True)},
        pixel_accuracy=float(metrics.pixel_accuracy(confusion)),
        images=len(data),
    )


def score_file(path: Path, data: Dataset, device: str = "cpu") -> Score:
    """``score`` of a checkpoint. Raises WsssError if it is unreadable or has another class set."""
    return score(load_segmenter(path, device, data.class_set), data)


def _run(
    network: Any,
    checked: Checked,
    data: Dataset,
    recipe: Recipe,
    out: Path,
    about: Mapping[str, Any],
    accelerator: Any,
    val: Dataset | None,
    seed: int,
    workers: int,
    progress: Callable[[str, str], Shown] | None,
) -> tuple[TrainingState, bool]:
    share = (accelerator.process_index, accelerator.num_processes)
    show = progress("training", "iteration") if progress and accelerator.is_main_process else None
    started = False

    def reduce(histogram: np.ndarray) -> np.ndarray:
        counts = torch.from_numpy(histogram).to(accelerator.device)
        return np.asarray(accelerator.reduce(counts, "sum").cpu().numpy())

    def evaluate(segmenter: Segmenter) -> float:
        assert val is not None
        if show is None:
            return score(segmenter, val, share, reduce).miou
        with show.within("validating", "image", len(range(share[0], len(val), share[1]))) as shown:
            return score(segmenter, val, share, reduce, shown.step).miou

    def step(state: TrainingState) -> None:
        nonlocal started
        if show is not None:
            if not started:
                show.start(recipe.settings.train.max_iters, state.iteration - 1)
                started = True
            show.step(note=_note(state))

    try:
        return train(
            network,
            checked.data,
            data.class_set,
            recipe,
            out,
            about=about,
            accelerator=accelerator,
            evaluate=None if val is None else evaluate,
            seed=seed,
            workers=workers,
            step=step,
        )
    finally:
        if show is not None:
            show.stop()


def _note(state: TrainingState) -> str:
    """The loss and the learning rate of the last iteration, and the best mIoU so far."""
    loss = sum(values[-1] for name, values in state.curve.items() if name not in ("lr", "miou"))
    best = "" if math.isnan(state.best) else f", best mIoU {100 * state.best:.2f} %"
    return f"loss {loss:.4f}, learning rate {state.curve['lr'][-1]:.2g}{best}"


def _check_val(data: Dataset, val: Dataset) -> None:
    if not len(val) or not val.has_masks:
        raise RunFolderError(f"{val.name} {val.split}: not every image has ground truth; give another validation split")
    if val.class_set.names != data.class_set.names:
        raise RunFolderError(
            f"{val.name} {val.split}: its classes ({len(val.class_set.names)} of '{val.class_set.name}') are not those "
            f"of the masks ({len(data.class_set.names)} of '{data.class_set.name}'); give the same class set"
        )


def _about(
    data: Dataset, checked: Checked, recipe: Recipe, weights: str, val: Dataset | None, seed: int
) -> dict[str, Any]:
    """Everything that determines the outcome, as JSON values."""
    return identity(
        data,
        {"name": "train-seg", "recipe": recipe.name, "encoder_weights": weights, **flatten(recipe.settings)},
        class_keys=("names",),
        labels="none",  # masks are what it learns from
        images=len(checked.data.samples),
        masks=checked.digest,
        validation=None if val is None else f"{val.title}, {len(val)} images",
        seed=seed,
    )


def _summary(data: Dataset, checked: Checked, recipe: Recipe, weights: str, network: Any, accelerator: Any) -> str:
    settings = recipe.settings
    size = sum(p.numel() for p in network.parameters()) / 1e6
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    missing = [n for n, v in zip(("background", *data.class_set.names), checked.pixels, strict=True) if not v]
    absent = f"; no pixel of {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}" if missing else ""
    return (
        f"{len(checked.data.samples)} images of the split {data.split}, {len(data.class_set.names)} "
        f"classes{absent}; recipe {recipe.name}: {settings.network.name} with {settings.network.encoder} ({size:.1f} M "
        f"parameters, encoder weights: {weights}), {settings.train.max_iters} iterations of "
        f"{settings.train.batch_size} on {accelerator.device}{processes}"
    )


def _record(out: Path, about: Mapping[str, Any], result: TrainResult | None) -> None:
    """Record of the run, for users and for later runs in this folder."""
    import accelerate

    write_json(
        out / TRAINING,
        {
            "settings": about,
            "versions": {
                "wsss_seed": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "accelerate": accelerate.__version__,
            },
            "finished": None if result is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "iterations": None if result is None else result.iterations,
            "miou": None if result is None else result.miou,
            "best_miou": None if result is None else result.best_miou,
            "best_iteration": None if result is None else result.best_iteration,
            "left_out": None if result is None else result.empty,
        },
    )


class _Folder:
    """The output folder, locked by one training run. Use as a context manager."""

    def __init__(self, path: Path, overwrite: bool, first: bool) -> None:
        self._lock: Lock | None = None
        if not first:
            return
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path}: not a folder; choose another `out`")
        path.mkdir(parents=True, exist_ok=True)
        if not (path / TRAINING).exists() and any(p.name != LOCK and not is_part(p) for p in path.iterdir()):
            raise RunFolderError(f"{path}: not empty and not a folder of train-seg; choose another `out`")
        self._lock = Lock(path / LOCK)
        if not self._lock.take(shared=False, wait=LOCK_WAIT):
            self._lock.close()
            raise RunFolderError(f"{path}: another training run is writing here; wait for it or choose another `out`")
        remove_parts([path])
        if overwrite:
            for name in (LAST, BEST, f"{METRICS}.csv", f"{METRICS}.png"):
                (path / name).unlink(missing_ok=True)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
