"""Choosing thresholds of dino-sam or sam3 on a few annotated images.

The models run once per image; then the seeder is replayed on their outputs for hundreds of settings. Only
settings that need further outputs, such as boxes of other candidate classes, run them again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from ..config import flatten, full_key, override
from ..data.base import Dataset
from ..data.voc_layout import layout_of
from ..errors import ImageError, RunFolderError, UsageError
from ..evaluation.metrics import iou, means, resolve_ignored
from ..io.files import plain
from ..io.progress import Reporter
from ..models.outputs import ModelOutputs, image_digest, read_outputs, read_texts, write_outputs, write_texts
from ..models.recorder import Memory, recorded
from ..models.zoo import ModelSet
from ..output.run_folder import outputs_path, texts_path, write_error
from ..seeding.detection.per_class import split_thresholds
from .annotated import Example, examples
from .counting import SETTINGS, Bench, Mode
from .model_outputs import RecordingSeeder, models_identity
from .search import Gain, Grid, Remembered, gain, held_out, search

FEWEST_OF_CLASS = 15
"""Fewest images with a class for thresholds of its own."""

FOLDS = 5

GRID: Mapping[str, Sequence[Any]] = {
    "clip.logit_scale": [10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 100.0],
    "clip.global_threshold": [0.05, 0.1, 0.2, 0.3],
    "clip.local_threshold": [0.15, 0.25, 0.35, 0.5],
    "clip.distractors": [0, 5],
    "detector.candidate_threshold": [0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 1.0],
    "detector.box_threshold": [0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5],
    "detector.ambiguous_threshold": [0.1, 0.15, 0.2, 0.25],
    "detector.rescue_threshold": [0.05, 0.1, 0.15, 0.2],
    "detector.fallback_threshold": [0.1, 0.15, 0.2, 0.3],
    "ignore.confident_threshold": [0.05, 0.1, 0.2, 0.3, 0.4],
    "ignore.confident_threshold_label_free": [0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5],
    "ignore.ambiguous_threshold": [0.05, 0.1, 0.2, 0.3],
    "ignore.contest_margin": [0.0, 0.02, 0.05, 0.1],
    "verify.min_side": [8, 16, 32],
    "verify.crop": ["square", "tight"],
    "verify.weight": [0.0, 0.15, 0.3, 0.45],
    "verify.weight_label_given": [0.0, 0.15, 0.3],
    "verify.trust_threshold": [0.4, 0.5, 0.6, 0.7, 1.0],
    "verify.accept_threshold": [0.05, 0.1, 0.2, 0.3, 0.5],
    "verify.accept_top_k": [1, 2, 3],
    "nms.iou_threshold": [0.4, 0.5, 0.6, 0.7, 0.8],
    "nms.cross_class_iou_threshold": [0.6, 0.7, 0.8, 0.9],
    "mask.output": ["single", "best", "whole"],
    "mask.box_expand": [0.0, 0.05, 0.1, 0.2],
    "mask.min_region_area": [8, 30, 100, 200],
    "mask.pred_iou_thresh": [0.0, 0.3, 0.5, 0.7],
    "fusion.order": ["area", "score", "area_score"],
    "fusion.iou_threshold": [0.6, 0.7, 0.8, 0.9],
}
"""The settings that are chosen, with the values that are tried. Those that the backend does not have are left out."""

SAM3_GRID: Mapping[str, Sequence[Any]] = {
    "sam3.candidate_threshold": [0.4, 0.5, 0.6, 0.7, 0.8, 1.0],
    "sam3.box_threshold": [0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7],
    "sam3.ambiguous_threshold": [0.2, 0.3, 0.4, 0.5],
    "sam3.rescue_threshold": [0.1, 0.2, 0.3, 0.4],
    "sam3.fallback_threshold": [0.1, 0.2, 0.3, 0.4],
}
"""In place of the detector's thresholds: SAM 3's scores run higher than Grounding DINO's."""

GRIDS = {"dino-sam": GRID, "sam3": {**{k: v for k, v in GRID.items() if not k.startswith("detector.")}, **SAM3_GRID}}

TOGETHER = (
    ("box_threshold", "ignore.confident_threshold"),
    ("box_threshold", "ignore.confident_threshold_label_free"),
)
"""Settings that are also tried together, each value with each: a box must pass both to paint."""

PRESENCE = (
    "clip.logit_scale",
    "clip.global_threshold",
    "clip.local_threshold",
    "clip.distractors",
    "candidate_threshold",
    "box_threshold",
    "verify.accept_threshold",
    "verify.accept_top_k",
)
"""Those that image-level labels can judge: which classes an image shows."""

OF_A_CLASS = ("box_threshold", "ignore.confident_threshold_label_free")
"""Thresholds that a class with enough images may have of its own."""


def _full(backend: str, keys: Sequence[str]) -> tuple[str, ...]:
    """These settings with the group of the backend's detector before those without a group."""
    return tuple(key if "." in key else f"{SETTINGS[backend].DETECTOR}.{key}" for key in keys)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """mIoU of confusion matrices int64 (..., modes, C, C + 1), ignored as background, averaged over the modes."""
    return means(means(iou(resolve_ignored(counts, "background"))))


def mean_f1(counts: np.ndarray) -> np.ndarray:
    """F1 of the presence of classes, mean over the classes that any image shows, of counts int64 (..., modes, K, 3)."""
    hits, alarms, misses = np.moveaxis(counts.sum(-3), -1, 0).astype(np.float64)
    f1 = 2 * hits / np.maximum(2 * hits + alarms + misses, 1)
    return means(np.where(hits + misses > 0, f1, np.nan))


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and on what grounds.

    Attributes:
        changes: chosen settings that differ from those of the start.
        settings: chosen settings that differ from those that the model set has anyway: the content of a config file.
        criterion: ``mIoU`` or ``F1``.
        before: its value under the settings of the start.
        after: its value under the chosen settings, on the images they were chosen on.
        gain: what the choice gained on images that it had not seen, by cross-validation.
        class_gain: what thresholds of single classes gained beyond it; None if no class has enough images.
        images: number of images.
        per_class: number of images with each class, by name.
        modes: how the images were seeded.
        tried: number of settings that were tried.
    """

    changes: Mapping[str, Any]
    settings: Mapping[str, Any]
    criterion: str
    before: float
    after: float
    gain: Gain
    class_gain: Gain | None
    images: int
    per_class: Mapping[str, int]
    modes: tuple[Mode, ...]
    tried: int

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values


def config_file(found: Calibration, data: Dataset, models: ModelSet, backend: str, gt: Path | None = None) -> str:
    """The content of a file for ``--config``: the chosen settings, and in comments what they were chosen on."""
    weights = (f"{role} {row['name']} ({(row['sha256'] or 'no hash')[:12]})" for role, row in models.weights().items())
    truth = f"ground truth in {gt.name}" if gt is not None else "ground truth"
    grounds = truth if found.criterion == "mIoU" else "image-level labels"
    seen = ", ".join(f"{name} {n}" for name, n in found.per_class.items())
    before, after = (f"{100 * value:.2f}" for value in (found.before, found.after))
    lines = [
        f"Settings of {backend}, chosen by wsss-seed calibrate on {time.strftime('%Y-%m-%d')}.",
        f"Images: {found.images} of {data.title}, with {grounds}, seeded {' and '.join(found.modes)}.",
        f"Images with each class: {seen}.",
        f"Models: {', '.join(weights)}, {models.precision}.",
        f"{found.criterion} {before} -> {after} on these images; on unseen ones (cross-validation, {FOLDS} folds) "
        f"{_points(found.gain)}.",
    ]
    if not found.gain.certain:
        lines.append("That is no gain beyond chance: the settings stay as they are.")
    if found.class_gain is not None:
        kept = "kept" if found.class_gain.certain else "not kept"
        lines.append(f"Thresholds of single classes beyond that: {_points(found.class_gain)}, {kept}.")
    header = "".join(f"# {line}\n" for text in lines for line in wrap(text, 116))
    settings = "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in found.settings.items())
    return f"{header}\n[settings]\n{settings}"


def _points(gain: Gain) -> str:
    return f"{100 * gain.value:+.2f} points, standard error {100 * gain.spread:.2f}"


def _toml(value: Any) -> str:
    """A setting as a TOML value."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # a TOML string, as long as it has no surrogates
    return str(value).lower() if isinstance(value, bool) else repr(value)


def calibrate(
    data: Dataset,
    models: ModelSet,
    *,
    backend: str = "dino-sam",
    gt: Path | None = None,
    limit: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    from_defaults: bool = False,
    cache: Path | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    progress: Reporter | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Choose thresholds on annotated images, by mIoU, or if only their classes are known, by F1 of the classes found.

    Args:
        data: the images; see ``examples`` for their annotations. If it has image-level labels, both modes count alike,
            since one file serves both; otherwise images are seeded label-free. ``mode`` in ``fixed`` decides otherwise.
        models: the model set, adapted to the backend.
        backend: ``dino-sam`` or ``sam3``.
        gt: a folder of label maps.
        limit: use only the first ``limit`` annotated images.
        fixed: settings that are not chosen, dotted key -> value.
        from_defaults: start from the defaults for photographs even if the model set has calibrated settings.
        cache: a folder that keeps the outputs of the models, such as a run folder of ``generate`` with
            ``keep_evidence``.
        grid: the values to try by setting; ``GRIDS`` by default.
        progress: receives the progress of asking the models.
        say: receives a line once the models have run.

    Raises:
        UsageError: a backend that cannot be calibrated, or an unknown setting.
        DataError: see ``examples``.
        RunFolderError: a cache of other weights or another version, or one that cannot be written.
    """
    if backend not in SETTINGS:
        raise UsageError(f"only {' and '.join(SETTINGS)} can be calibrated, not {backend}")
    images = examples(data, gt, limit)
    masks = images[0].truth is not None
    calibrated = models.settings(backend)
    defaults: Any = SETTINGS[backend]()
    fixed = {full_key(key, flatten(defaults)): value for key, value in (fixed or {}).items()}
    base = override(defaults, {} if from_defaults else calibrated)
    common, own = split_thresholds(fixed)
    start = {**flatten(override(base, common)), **own}
    modes = _modes(data, start.pop("mode"), masks)
    recorder = RecordingSeeder(backend, data.class_set, models, {**start, "mode": "auto"})
    outputs = _ask(recorder, images, models, cache, progress)
    if cache is not None:
        _keep(cache, recorder.memory, images, outputs, models)
    own_models = recorded(models, recorder.memory)
    bench = Bench(backend, data.class_set, images, modes, own_models, recorder.memory, outputs)
    measure, figure = Remembered(bench.measure), mean_iou if masks else mean_f1
    grid = GRIDS[backend] if grid is None else grid
    judged = grid if masks else _full(backend, PRESENCE)
    free = {key: grid[key] for key in grid if key in start and key not in fixed and key in judged}
    trials: Grid = {(key,): [(v,) for v in free[key]] for key in free}
    together: Grid = {
        keys: list(product(*(free[key] for key in keys)))
        for keys in (_full(backend, names) for names in TOGETHER)
        if set(keys) <= free.keys()
    }
    shown = np.array([np.isin(np.arange(len(data.class_set.names)), e.classes) for e in images])

    def choose(rows: np.ndarray) -> dict[str, Any]:
        return {**start, **search(start, {**trials, **together}, measure, figure, rows)}

    def choose_classes(rows: np.ndarray) -> dict[str, Any]:
        chosen = choose(rows)
        names = [n for n, k in zip(data.class_set.names, shown[rows].sum(0), strict=True) if k >= FEWEST_OF_CLASS]
        keys = {f"{key}.{name}": key for key in _full(backend, OF_A_CLASS) if key in free for name in names}
        equal = {**{own: chosen[key] for own, key in keys.items()}, **chosen}
        tried: Grid = {(own,): [(value,) for value in free[key]] for own, key in keys.items()}
        return {**chosen, **search(equal, tried, measure, figure, rows)}

    say(f"trying values of {len(free)} settings on the outputs of the models, with {FOLDS}-fold cross-validation")
    everything, n = np.arange(len(images)), len(images)
    before = measure(start)
    unseen = held_out(choose, measure, n, FOLDS)
    found, class_gain = gain(before, unseen, figure), None
    chosen = choose(everything) if found.certain else start
    if found.certain and masks and (shown.sum(0) >= FEWEST_OF_CLASS).any():
        class_gain = gain(unseen, held_out(choose_classes, measure, n, FOLDS), figure)
        chosen = choose_classes(everything) if class_gain.certain else chosen
    if cache is not None:
        _keep(cache, recorder.memory, images, outputs, models)
    under = flatten(override(defaults, calibrated))
    return Calibration(
        changes={key: value for key, value in chosen.items() if key not in start or value != start[key]},
        settings={k: v for k, v in {**fixed, **chosen}.items() if k in fixed or k not in under or v != under[k]},
        criterion="mIoU" if masks else "F1",
        before=float(figure(before.sum(0))),
        after=float(figure(measure(chosen).sum(0))),
        gain=found,
        class_gain=class_gain,
        images=n,
        per_class=dict(zip(data.class_set.names, shown.sum(0).tolist(), strict=True)),
        modes=modes,
        tried=len(measure),
    )


def _modes(data: Dataset, mode: str, masks: bool) -> tuple[Mode, ...]:
    """How the examples are seeded."""
    if mode == "boxes_given":
        raise UsageError("mode boxes_given has nothing to calibrate; choose auto, label_given or label_free")
    if not masks:
        if mode == "label_given":
            raise UsageError("image-level labels alone cannot judge mode label_given; give `gt`, or choose label_free")
        return ("label_free",)
    if mode == "auto":
        return ("label_free",) if data.labels_source is None else ("label_given", "label_free")
    return ("label_given",) if mode == "label_given" else ("label_free",)


def _ask(
    recorder: RecordingSeeder,
    images: Sequence[Example],
    models: ModelSet,
    cache: Path | None,
    progress: Reporter | None,
) -> list[ModelOutputs]:
    """The outputs of the models for each image, from the cache or from the models."""
    identity = models_identity(models)
    found: dict[str, ModelOutputs] = {}
    try:
        if cache is not None and texts_path(cache).exists():
            texts, recorder.memory.logit_scale = read_texts(texts_path(cache), identity)
            recorder.memory.texts.update(texts)
        if cache is not None:
            layout = layout_of(cache)
            for example in images:
                name = example.loaded.sample.id
                if outputs_path(cache, name, layout).exists():
                    outputs = read_outputs(outputs_path(cache, name, layout), identity)
                    if outputs.image == image_digest(example.loaded.image):
                        found[name] = outputs
    except ImageError as error:
        raise RunFolderError(f"{error}, or choose another `cache`") from None
    if progress is not None:
        progress.start(len(images), len(found))
    for example in images:
        name = example.loaded.sample.id
        if name not in found:
            recorder.seed(example.loaded)
            found[name] = recorder.memory.outputs
            if progress is not None:
                progress.step()
    if progress is not None:
        progress.stop()
    return [found[example.loaded.sample.id] for example in images]


def _keep(
    cache: Path, memory: Memory, images: Sequence[Example], outputs: Sequence[ModelOutputs], models: ModelSet
) -> None:
    identity, layout = models_identity(models), layout_of(cache)
    try:
        write_texts(texts_path(cache), memory.texts, identity, memory.logit_scale)
        for example, own in zip(images, outputs, strict=True):
            write_outputs(outputs_path(cache, example.loaded.sample.id, layout), own, identity)
    except OSError as error:
        raise write_error(cache, error) from error
