"""How long the stages of a run take: a backend seeds a few images as ``generate`` does, and its stages are measured.

The stages are methods of the models, the dataset, the seeder and the run folder, which are wrapped; nothing is computed
in another way. The first readable image is seeded once before, mirrored, which warms up and counts operations.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..data import open_dataset
from ..data.base import Dataset, Sample
from ..data.classes import ClassSet
from ..data.toyland import draw
from ..errors import ImageError, UsageError, unknown_name
from ..io.progress import Reporter
from ..models.typical import OBJECTS, answer_typically
from ..models.untrained import with_random_weights, without_download
from ..models.zoo import ModelSet
from ..output.manifest import MANIFEST, read_records
from ..output.run_folder import RunFolder
from ..proposals.generate import ProposalSettings, generate_proposals
from ..seeding import clip_sams
from ..seeding.backends import BackendRequest, build_seeder
from ..seeding.clip_sams.cam import softmax_gradcam
from ..types import LoadedSample, Seeder
from .generate import generate
from .plan import batch_on, check_batch, choose_backend
from .stopwatch import Stopwatch
from .timing import elapsed

ROLES = {"dino-sam": ("clip", "detector", "sam"), "clip-sams": ("clip", "sam")}
"""Backend -> the models that it uses."""

DECODING, CLIP, DETECTOR, ENCODER, DECODER = "decoding", "CLIP", "detector", "SAM encoder", "SAM decoder"
FUSION, WRITING = "fusion", "writing"
STAGES = (DECODING, CLIP, DETECTOR, ENCODER, DECODER, FUSION, WRITING)
MODEL_STAGES = (CLIP, DETECTOR, ENCODER, DECODER)

CLASS_SET = "voc"
LABELS = (7, 11, 14)
"""Image-level labels where the settings need them: cat, dog and person of VOC."""

_SIZE = (500, 375)  # width and height of most images of VOC
_TEXTS = "texts"  # features of phrases, computed once per run
_METHODS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "clip": {CLIP: ("encode_views", "encode_patches", "encode_tokens"), _TEXTS: ("encode_text", "text_features")},
    "detector": {DETECTOR: ("detect",)},
    "sam": {ENCODER: ("embed",), DECODER: ("decode_boxes", "decode_points", "upsampled_windows", "logits")},
}  # role -> stage -> methods of the model
_RATE_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices whose product is measured
_RATE_SECONDS = 1.0
_POINTS = {"cpu": 8, "cuda": 32}  # per side of the grid, for the comparison with the generator
_PASSING = 0.15  # part of random masks whose predicted IoU passes, for the comparison with the generator


@dataclass(frozen=True)
class StageTime:
    """The time of a stage.

    Attributes:
        name: one of ``STAGES``.
        seconds: per image.
        share: of the seconds of all stages.
        precision: precision in which a model computes; None for other stages.
        gflop: operations per image in units of 10^9, as far as torch counts them; None for other stages.
        floor_seconds: time of these operations at the higher measured rate of matrix products; None for other stages.
    """

    name: str
    seconds: float
    share: float
    precision: str | None = None
    gflop: float | None = None
    floor_seconds: float | None = None


@dataclass(frozen=True)
class PeerTime:
    """A comparison on the same weights and images, turn by turn.

    Attributes:
        name: what is compared.
        peer: whose code the other side is.
        seconds, peer_seconds: per image, medians.
        ratio: seconds of the peer over ours, median over the images.
        ratio_min, ratio_max: least and greatest of these ratios.
    """

    name: str
    peer: str
    seconds: float
    peer_seconds: float
    ratio: float
    ratio_min: float
    ratio_max: float


@dataclass(frozen=True)
class Spread:
    """The middle, the least and the greatest of several values."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class BenchResult:
    """What ``bench`` measured.

    Attributes:
        backend: name of the backend.
        models: role -> name of the model.
        random_weights: roles of the models that have random weights, because their own have not been downloaded.
        settings: settings of the backend that were given.
        device: the device, and what it is.
        precision: see ``ModelSet.precision``.
        threads: CPU threads of torch.
        torch: its version.
        images: number of images seeded.
        failed: id and error of the images that could not be seeded.
        stages: all of ``STAGES`` that the backend has.
        seconds_per_image, images_per_second: end to end, image by image; decoding and writing overlap with the other
            stages.
        batch: number of images processed together in a further run; 1 if there was none.
        batched_images_per_second: of that run, which is not measured stage by stage; None if there was none.
        seeding_seconds: how the time of seeding, without reading and writing, varies over the images.
        utilisation: share of the end-to-end time in which a model was busy.
        matmul_tflops: precision -> rate of matrix products measured before and after the images, in 10^12 operations
            per second; they differ as other work and the frequency of the processor change. Floors use the higher one.
        floor_seconds: sum of the floors of the stages, per image.
        peak_memory_gib: memory at most beyond what was in use at the start, models included: torch's on a GPU, else of
            the process; None where it is not known.
        peers: comparisons; empty if none were asked for.
    """

    backend: str
    models: Mapping[str, str]
    random_weights: tuple[str, ...]
    settings: Mapping[str, Any]
    device: str
    precision: str
    threads: int
    torch: str
    images: int
    failed: tuple[tuple[str, str], ...]
    stages: tuple[StageTime, ...]
    seconds_per_image: float
    images_per_second: float
    batch: int
    batched_images_per_second: float | None
    seeding_seconds: Spread
    utilisation: float
    matmul_tflops: Mapping[str, tuple[float, float]]
    floor_seconds: float
    peak_memory_gib: float | None
    peers: tuple[PeerTime, ...] = ()

    @property
    def slowest(self) -> StageTime:
        """The stage that takes the most time."""
        return max(self.stages, key=lambda stage: stage.seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    models: ModelSet,
    backend: str,
    *,
    settings: Mapping[str, Any] | None = None,
    images: int | None = None,
    root: str | Path | None = None,
    batch: int | None = None,
    peers: bool = False,
    progress: Reporter | None = None,
) -> BenchResult:
    """Seed images and measure the stages.

    Models that have not been downloaded get random weights, since time does not depend on their values; their answers
    are replaced by typical ones, see ``models.typical``. Nothing is downloaded for models whose architecture is known.

    Args:
        models: the model set, for the backend.
        backend: ``dino-sam`` or ``clip-sams``, with handwritten prompts.
        settings: the user's settings of the backend, dotted key -> value.
        images: number of images; 3 on a CPU and 50 on a GPU by default.
        root: folder of photographs, of which the first are taken; by default toyland's, enlarged to 500 x 375 pixels.
        batch: number of images that a further run processes together, to compare; none by default on a CPU, where it
            brings nothing, and 8 on a GPU with dino-sam.
        peers: also measure what other projects do with the same weights.
        progress: receives the progress.

    Raises:
        WsssError: an unknown backend or setting, a model that cannot be loaded, or images none of which can be seeded.
    """
    if backend not in ROLES:
        raise unknown_name("backend of bench", backend, ROLES)
    if images is not None and images < 1:
        raise UsageError(f"`images` {images}: expected at least 1")
    models = without_download(models)
    device, values = torch.device(models.device), dict(settings or {})
    memory = _Memory(device)
    with tempfile.TemporaryDirectory(prefix="wsss-seed-bench-") as scratch:
        labels = LABELS if backend == "clip-sams" or values.get("mode") == "label_given" else None
        data = _dataset(root, Path(scratch), images or (50 if device.type == "cuda" else 3), labels)
        own, random = with_random_weights(models, ROLES[backend])
        plain = {role: copy(getattr(own, role)) for role in ROLES[backend]}  # the weights without what is done to them
        for role, model in random.items():
            answer_typically(role, model)
        precisions = _precisions(backend, plain)
        used = tuple(dict.fromkeys(precisions.values()))
        before = [matmul_rate(device, precision) for precision in used]
        memory.forget_peak()
        seeder, measured = _measure(backend, own, values, data, Path(scratch), progress)
        peak = memory.peak()
        together = batch_on(models.device, check_batch(batch, backend))
        batched = None
        if together > 1:
            batched = _batched_rate(seeder, data, Path(scratch), together, gpu=device.type == "cuda")
        after = [matmul_rate(device, precision) for precision in used]
        compared: tuple[PeerTime, ...] = ()
        if peers:
            pictures = [data.upright(s) for s in data.samples if s.id not in dict(measured.failed)]
            pairs = _pairs(seeder, data.class_set, plain, set(random), pictures[0], labels)
            compared = _compare(pairs, pictures, device)
    rates = dict(zip(used, zip(before, after, strict=True), strict=True))
    stages = _stages(measured, precisions, {precision: max(pair) for precision, pair in rates.items()})
    busy = sum(stage.seconds for stage in stages if stage.name in MODEL_STAGES)
    return BenchResult(
        backend=backend,
        models={role: models.names[role] for role in ROLES[backend]},
        random_weights=tuple(random),
        settings=values,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=models.precision,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        images=measured.images,
        failed=measured.failed,
        stages=stages,
        seconds_per_image=measured.wall / measured.images,
        images_per_second=measured.images / measured.wall,
        batch=together,
        batched_images_per_second=batched,
        seeding_seconds=Spread.of(measured.each),
        utilisation=min(1.0, busy * measured.images / measured.wall),
        matmul_tflops={precision: (first / 1e12, last / 1e12) for precision, (first, last) in rates.items()},
        floor_seconds=sum(stage.floor_seconds or 0.0 for stage in stages),
        peak_memory_gib=peak,
        peers=compared,
    )


def choose_models(
    name: str,
    backend: str | None,
    device: str,
    precision: str,
    chosen: Mapping[str, str | None],
    compile: bool = False,
) -> tuple[ModelSet, str]:
    """The model set and the backend to measure; see ``run.plan.choose_backend``. Raises WsssError for unknown names."""
    backend, models = choose_backend(
        backend, name, CLASS_SET, device, precision, chosen=chosen, options={}, compile=compile
    )
    return models, backend


def matmul_rate(device: torch.device, precision: str) -> float:
    """Operations per second of products of large square matrices, the best of a second."""
    side = _RATE_SIDE[device.type]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a = torch.rand(side, side, device=device).to(dtype)
    rates: list[float] = []
    start = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - start < _RATE_SECONDS:
        rates.append(2 * side**3 / elapsed(lambda: a @ a, device))
    return max(rates)


class _Measured(NamedTuple):
    """Seconds of the stages of all images, operations of one image, seconds of seeding each image, and of the run."""

    seconds: Counter[str]
    flops: Counter[str]
    each: list[float]
    wall: float
    images: int
    failed: tuple[tuple[str, str], ...]


def _measure(
    backend: str,
    models: ModelSet,
    settings: Mapping[str, Any],
    data: Dataset,
    scratch: Path,
    progress: Reporter | None,
) -> tuple[Seeder, _Measured]:
    """Build the seeder and run it over the images."""
    with Stopwatch(models.device) as watch:
        for role in ROLES[backend]:
            model = getattr(models, role)
            for stage, methods in _METHODS[role].items():
                for method in (m for m in methods if hasattr(model, m)):
                    watch.wrap(model, method, stage)
        watch.replace(clip_sams, "home", lambda: scratch)  # or proposals would come from an earlier run
        options = {"prompts": "handwritten"} if backend == "clip-sams" else {}
        seeder = build_seeder(backend, BackendRequest(data.class_set, models, settings), options)
        if seeder.needs_boxes:
            raise UsageError(
                "`mode` boxes_given needs the ground-truth boxes of a dataset; bench takes the other modes"
            )
        if backend == "clip-sams":
            watch.wrap(seeder, "cams", CLIP)
        watch.wrap(seeder, "seed", FUSION)
        with watch.counting():
            seeder.seed(_mirrored(data))
        flops = watch.read()[1]
        if watch.gpu:  # kernels are chosen and compiled again without the counter
            seeder.seed(_mirrored(data))
            watch.read()
        watch.wrap(data, "image", DECODING, host=True)
        watch.wrap(data, "orientation", DECODING, host=True)
        watch.wrap(RunFolder, "save", WRITING, host=True)
        out = scratch / "run"
        result = generate(data, seeder, out, settings={"backend": dict(seeder.settings)}, progress=progress)
        if result.interrupted:
            raise KeyboardInterrupt
        if not result.made:
            id, error = result.failed[0]
            raise ImageError(f"no image could be seeded; {error if id in error else f'{id}: {error}'}")
        each = [record.seconds for record in read_records([out / MANIFEST]) if record.status == "ok"]
        return seeder, _Measured(watch.read()[0], flops, each, result.seconds, result.made, result.failed)


def _batched_rate(seeder: Seeder, data: Dataset, scratch: Path, batch: int, *, gpu: bool) -> float:
    """Images per second of a run that processes several images together; the second one on a GPU, for which kernels of
    the batches' shapes have been chosen."""
    for i in range(2 if gpu else 1):
        out = scratch / f"batched-{i}"
        result = generate(data, seeder, out, settings={"backend": dict(seeder.settings)}, batch=batch)
        if result.interrupted:
            raise KeyboardInterrupt
    return result.made / result.seconds


def _dataset(root: str | Path | None, scratch: Path, images: int, labels: tuple[int, ...] | None) -> Dataset:
    """The images, with the same image-level labels for all of them."""
    if root is None:
        root = scratch / "images"
        root.mkdir()
        for i in range(images):
            large = Image.fromarray(draw(i, "test").image).resize(_SIZE, Image.Resampling.BICUBIC)
            large.save(root / f"{i:06}.jpg", quality=95)
    data = open_dataset("folder", root, classes=CLASS_SET, labels="none")
    data.samples = [replace(sample, labels=labels) for sample in data.samples[:images]]
    return data


def _mirrored(data: Dataset) -> LoadedSample:
    """The first readable image, mirrored, so that no model and no cache of proposals has seen what is measured.

    Raises:
        ImageError: no image can be read; the error of the first one.
    """
    errors = []
    for sample in data.samples:
        try:
            return LoadedSample(sample, np.ascontiguousarray(data.upright(sample)[:, ::-1]))
        except ImageError as error:
            errors.append(error)
    raise errors[0]


def _precisions(backend: str, models: Mapping[str, Any]) -> dict[str, str]:
    """Stage -> precision in which its model computes."""
    maps = backend == "clip-sams"
    found = {CLIP: "fp32" if maps else models["clip"].precision, ENCODER: models["sam"].precision, DECODER: "fp32"}
    return found if maps else {**found, DETECTOR: models["detector"].precision}


def _stages(measured: _Measured, precisions: Mapping[str, str], rates: Mapping[str, float]) -> tuple[StageTime, ...]:
    seconds = {name: measured.seconds[name] / measured.images for name in STAGES}
    seconds[CLIP] += measured.seconds[_TEXTS] / measured.images
    total = sum(seconds.values())
    stages = []
    for name in STAGES:
        if name not in precisions and name in MODEL_STAGES:
            continue
        stage = StageTime(name, seconds[name], seconds[name] / total)
        if name in precisions:
            flops, precision = measured.flops[name], precisions[name]
            stage = replace(stage, precision=precision, gflop=flops / 1e9, floor_seconds=flops / rates[precision])
        stages.append(stage)
    return tuple(stages)


# peers ------------------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    name: str
    peer: str
    own: Callable[[np.ndarray], object]
    other: Callable[[np.ndarray], object]


def _compare(pairs: Iterable[_Pair], pictures: Sequence[np.ndarray], device: torch.device) -> tuple[PeerTime, ...]:
    """Our time and the peer's, in turns image by image; the first image is processed once before."""
    found = []
    for pair in pairs:
        times = []
        for i, picture in enumerate([pictures[0], *pictures]):
            turn = [elapsed(lambda: run(picture.copy()), device) for run in (pair.own, pair.other)]  # noqa: B023
            times += [turn] if i else []
        ratios = [other / own for own, other in times]
        own, other = (statistics.median(side) for side in zip(*times, strict=True))
        found.append(PeerTime(pair.name, pair.peer, own, other, statistics.median(ratios), min(ratios), max(ratios)))
    return tuple(found)


def _pairs(
    seeder: Seeder,
    class_set: ClassSet,
    models: Mapping[str, Any],
    random: set[str],
    picture: np.ndarray,
    labels: tuple[int, ...] | None,
) -> list[_Pair]:
    """The comparisons that the libraries of the models allow; importing them takes seconds."""
    from ..models.grounding_dino import GroundingDino
    from ..models.peers import clip_es_maps, grounded_sam, image_encoder, library_sam, mask_generator
    from ..models.sam import Sam

    clip, sam, detector = models["clip"], models["sam"], models.get("detector")
    pairs = []
    if isinstance(sam, Sam):
        library = library_sam(sam)
        pairs.append(_Pair("SAM encoder", "SamPredictor", sam.embed, image_encoder(library)))
        rules = _generator_settings(sam, picture, "sam" in random)
        points = rules.points_per_side
        pairs.append(
            _Pair(
                f"proposals, {points} x {points} points",
                "SamAutomaticMaskGenerator",
                lambda image: generate_proposals(sam, image, rules),
                mask_generator(
                    library,
                    points_per_side=points,
                    pred_iou_thresh=rules.pred_iou_thresh,
                    stability_score_thresh=rules.stability_score_thresh,
                    stability_score_offset=rules.stability_score_offset,
                ),
            )
        )
        if isinstance(detector, GroundingDino):
            classes = class_set.phrases if labels is None else [class_set.phrases[c] for c in labels]
            phrases = [phrase for group in classes for phrase in group]
            best = OBJECTS if {"sam", "detector"} & random else None
            pairs.append(
                _Pair(
                    "dino-sam",
                    "Grounded-SAM's loop",
                    lambda image: seeder.seed(LoadedSample(Sample("image", None, labels), image)),
                    grounded_sam(detector, library, phrases, best),
                )
            )
    text = torch.nn.functional.normalize(clip.encode_text([p[0] for p in class_set.phrases]), dim=-1)
    present = torch.zeros(1, len(text), dtype=torch.bool)
    present[0, list(LABELS)] = True
    pairs.append(
        _Pair(
            f"maps of {len(LABELS)} classes",
            "CLIP-ES's loop",
            lambda image: softmax_gradcam(clip, clip.encode_tokens(clip.prepare(image), 8), text, present),
            clip_es_maps(clip, text, LABELS),
        )
    )
    return pairs


def _generator_settings(sam: Any, picture: np.ndarray, random: bool) -> ProposalSettings:
    """The rules of SamAutomaticMaskGenerator, with its default thresholds; with random weights thresholds that a part
    of the masks of this image passes."""
    none = (0.0, 0.0, 0.0)
    rules = ProposalSettings(
        points_per_side=_POINTS[sam.device.type],
        crop_n_layers=0,
        pred_iou_thresh=0.88,
        score_thresh_offset=none,
        stability_score_thresh=0.95,
        stability_score_offset=1.0,
        score_nms_offset=none,
        min_mask_region_area=0,
        level_overlap_thresh=0.0,
    )
    if not random:
        return rules
    points = np.random.default_rng(0).uniform(0, 1, (64, 2)) * picture.shape[1::-1]
    ious = torch.cat([found.iou for found in sam.decode_points(sam.embed(picture), points)])
    passing = float(ious.float().quantile(1 - _PASSING))
    return replace(rules, pred_iou_thresh=passing, stability_score_thresh=0.0, stability_score_offset=0.0)


# memory -----------------------------------------------------------------------------------------------------------


class _Memory:
    """Memory beyond what was in use when this was made: of torch's allocator on a GPU, else of the process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            self._before = _greatest_resident() or 0

    def forget_peak(self) -> None:
        """Leave out what was used for a moment until now; on a GPU only, as the record of a process cannot be reset."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> float | None:
        """GiB; None where it is not known."""
        gpu = self._device.type == "cuda"
        now = torch.cuda.max_memory_allocated(self._device) if gpu else _greatest_resident()
        return None if now is None else (now - self._before) / 2**30


def _greatest_resident() -> int | None:
    """Bytes of memory that the process had at most; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
