"""Self-training: each round trains a segmenter on the labels that its predecessor did not contradict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.base import Dataset, Sample
from ..data.classes import IGNORE
from ..data.images import read_labels
from ..data.orientation import turn
from ..data.voc import Voc
from ..data.voc_layout import CONFIDENCE, Layout
from ..errors import ImageError, UsageError
from ..io.progress import Progress
from ..models.zoo import versions
from ..output.identity import identity
from ..output.manifest import Manifest
from ..output.run_folder import confidence_path, mask_path
from ..segmenter.agreement import AgreementFilter, AgreementSettings, SoftLabels
from ..segmenter.checkpoint import load_segmenter
from ..segmenter.predict import Predictor
from ..segmenter.settings import Recipe
from ..segmenter.train import TrainResult, train_segmenter
from .generate import RunResult, generate

PREDICTIONS, FUSED = "predictions", "fused"


@dataclass(frozen=True)
class Round:
    """A round of self-training.

    Attributes:
        masks: folder of the masks it was trained on.
        training: result of the training.
        kept: share of the pixels of these masks that are not ignored; None for the first round.
        agreed: share of the pixels on which the seeds and the previous segmenter agree; None for the first round.
        failed: id and error of images that were dropped after the previous round.
    """

    masks: Path
    training: TrainResult
    kept: float | None = None
    agreed: float | None = None
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RoundsResult:
    """The result of self-training: the rounds so far, and whether it was interrupted."""

    rounds: tuple[Round, ...]
    interrupted: bool


def train_rounds(
    data: Voc,
    out: Path,
    recipe: Recipe,
    rounds: int,
    *,
    settings: AgreementSettings | None = None,
    weights: str | None = None,
    val: Dataset | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Callable[[str, str], Progress] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RoundsResult:
    """Train a segmenter in rounds of self-training, resuming an earlier call with the same settings.

    The first round trains on the seeds. Each later round trains, again from the initial weights, on the seeds fused
    with the predictions of the previous segmenter (``segmenter.agreement``). Predictions are always fused with the
    original seeds and not with the fused masks of the previous round, so that errors do not accumulate.

    ::

        OUT/round-1/               the first training: last.pt, best.pt, ...
        OUT/round-1/predictions/   predictions on the training images, a run folder
        OUT/round-1/fused/         training masks of the second round, a run folder
        OUT/round-2/               the second training

    Interrupted steps resume, finished steps are skipped, and more rounds than before continue from the existing ones.

    Args:
        data: images and seeds.
        out: the folder.
        recipe: recipe of every training.
        rounds: number of trainings, at least 1.
        settings: settings of the fusion.
        weights, val, seed, device, workers, overwrite, progress, say: see ``train_segmenter``.

    Raises:
        WsssError: see ``train_segmenter`` and ``generate``; or a round has no usable mask left.
    """
    settings = settings or AgreementSettings()
    if settings.disagreement == "weigh" and not recipe.settings.train.confidence_weighting:
        raise UsageError("self-training that weighs disagreement needs `train.confidence_weighting`=true")
    finished: list[Round] = []
    folder, now = data.root, data
    for number in range(1, rounds + 1):
        home = out / f"round-{number}"
        say(f"round {number} of {rounds}: training on {folder}")
        training = train_segmenter(
            now,
            home,
            recipe,
            weights=weights,
            val=val,
            seed=seed,
            device=device,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
            say=say,
        )
        finished.append(_round(folder, training, number))
        if training.interrupted:
            return RoundsResult(tuple(finished), True)
        if number == rounds:
            break
        if _fuse(data, home, training, settings, overwrite, progress).interrupted:
            return RoundsResult(tuple(finished), True)
        folder = home / FUSED
        now = Voc(folder, data.class_set, data.split)
    return RoundsResult(tuple(finished), False)


def _fuse(
    data: Voc,
    home: Path,
    training: TrainResult,
    settings: AgreementSettings,
    overwrite: bool,
    progress: Callable[[str, str], Progress] | None,
) -> RunResult:
    """Predict the training images and fuse the predictions with the seeds, one shard per process."""
    from accelerate import PartialState

    processes = PartialState()
    segmenter = load_segmenter(training.best or training.last, processes.device, data.class_set)
    predictor = Predictor(segmenter)
    about = {"versions": versions(), "device": str(processes.device)}

    def make(seeder: Predictor | AgreementFilter, name: str, folder: Path, verb: str) -> RunResult:
        result = generate(
            data,
            seeder,
            folder,
            settings=identity(data, {"name": name, **seeder.settings}),
            about=about,
            shard=(processes.process_index, processes.num_processes),
            overwrite=overwrite,
            layout=data.layout,
            progress=progress(verb, "image") if progress and processes.is_main_process else None,
        )
        if not result.interrupted:
            processes.wait_for_everyone()
        return result

    result = make(predictor, "segmenter", home / PREDICTIONS, "predicting")
    if result.interrupted:
        return result

    def upright(maps: SoftLabels, sample: Sample) -> SoftLabels:
        exif = data.orientation(sample)
        return SoftLabels(turn(maps.labels, exif), turn(maps.confidence, exif))

    fuser = AgreementFilter(
        lambda sample: upright(seed_of(data, sample), sample),
        lambda sample: upright(prediction_of(data, home / PREDICTIONS, sample), sample),
        settings,
        {"segmenter": predictor.settings["segmenter"]},
    )
    return make(fuser, "agreement", home / FUSED, "fusing")


def seed_of(data: Voc, sample: Sample) -> SoftLabels:
    """The seed of a sample; without confidence maps, every labelled pixel has confidence 1."""
    labels = data.mask(sample)
    if labels is None:
        raise ImageError(f"{sample.id}: no label map in {data.name} {data.split}; remove it from the list")
    found = _soft_labels(labels, data.root, data.layout, sample)
    found.confidence[_decided(data, sample, labels) & (labels != IGNORE)] = 1
    return found


def prediction_of(data: Voc, folder: Path, sample: Sample) -> SoftLabels:
    """The prediction of a sample in a run folder, without labels where a person decided about the seed."""
    labels = read_labels(mask_path(folder, sample.id, data.layout))
    labels = np.where(_decided(data, sample, labels), np.uint8(IGNORE), labels)
    return _soft_labels(labels, folder, data.layout, sample)


def _decided(data: Voc, sample: Sample, labels: np.ndarray) -> np.ndarray:
    """The pixels of the seed that a person decided about, bool (H, W); none if the sizes differ."""
    decided = None if data.corrections is None else data.corrections.decided(sample.id)
    return decided if decided is not None and decided.shape == labels.shape else np.zeros(labels.shape, bool)


def _soft_labels(labels: np.ndarray, root: Path, layout: Layout, sample: Sample) -> SoftLabels:
    if (root / CONFIDENCE).is_dir():
        return SoftLabels(labels, read_labels(confidence_path(root, sample.id, layout)).astype(np.float32) / 255)
    return SoftLabels(labels, (labels != IGNORE).astype(np.float32))


def _round(folder: Path, training: TrainResult, number: int) -> Round:
    """The result of a round; the masks of the first round are the seeds."""
    if number == 1:
        return Round(folder, training)
    pixels: list[int] = []
    ignored: list[float] = []
    agreed: list[float] = []
    failed: list[tuple[str, str]] = []
    with Manifest(folder) as manifest:
        for record in manifest.values():
            share = record.evidence.get("agreed")
            if record.status != "ok":
                failed.append((record.id, record.error or ""))
            elif record.size and record.ignore is not None and isinstance(share, float):
                pixels.append(record.size[0] * record.size[1])
                ignored.append(record.ignore)
                agreed.append(share)
    return Round(
        folder,
        training,
        kept=1 - float(np.average(ignored, weights=pixels)),
        agreed=float(np.average(agreed, weights=pixels)),
        failed=tuple(failed),
    )
