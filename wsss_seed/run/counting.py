"""What seeds and ground truth have in common under many settings.

The seeder is replayed on recorded outputs of the models. Its steps are functions of the detections and of a few
settings each, so the result of a step is computed once: a change of one setting costs the steps that depend on it,
until a step returns what it has returned before. Most changes leave the seed of most images as it was. Masks are fused
by region of the image instead of by pixel; see ``partition``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..config import override
from ..data.classes import ClassSet
from ..evaluation.confusion import confusion_matrix, joint_histogram
from ..models.outputs import ModelOutputs
from ..models.recorder import Memory
from ..models.zoo import ModelSet
from ..seeding.detection.box_masks import BoxMask, core, trimmed
from ..seeding.detection.detections import Detections, Role
from ..seeding.detection.per_class import split_thresholds, with_thresholds
from ..seeding.detection.seeder import Classified, DetectionSeeder, Found, Step
from ..seeding.dino_sam import DinoSam
from ..seeding.dino_sam import Settings as DinoSamSettings
from ..seeding.sam3 import Sam3Seeder
from ..seeding.sam3 import Settings as Sam3Settings
from ..types import LoadedSample, Seed
from .annotated import Example
from .partition import Partition
from .search import Remembered

if TYPE_CHECKING:
    import torch

Mode = Literal["label_given", "label_free"]

SETTINGS: Mapping[str, type[DinoSamSettings] | type[Sam3Settings]] = {"dino-sam": DinoSamSettings, "sam3": Sam3Settings}
"""The backends that can be replayed, and their settings."""

ONLY_IN: Mapping[Mode, frozenset[str]] = {
    "label_given": frozenset(
        {
            "detector.rescue_threshold",
            "sam3.rescue_threshold",
            "ignore.confident_threshold",
            "verify.weight_label_given",
        }
    ),
    "label_free": frozenset(
        {
            "clip.global_threshold",
            "clip.local_threshold",
            "clip.distractors",
            "detector.candidate_threshold",
            "detector.fallback_threshold",
            "sam3.candidate_threshold",
            "sam3.fallback_threshold",
            "ignore.confident_threshold_label_free",
            "verify.weight",
            "verify.accept_threshold",
            "verify.accept_top_k",
        }
    ),
}
"""Settings on which only the seeds of one mode depend, so that those of the other mode need not be measured again."""

REMEMBERED = 200_000
"""Most results of steps that are kept, over all images: about 1 GB."""

MOST_MASKS = 100
"""Masks beyond which regions are cut afresh, along the masks in use: more masks make more regions."""

_ARRAYS = tuple(f.name for f in fields(Detections))

_Box = tuple[bytes, bytes]  # and its score, since objects that SAM 3 finds may share a box

_NOTHING = Seed(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32), ())


class _Mask(NamedTuple):
    """A mask, with nothing but what labels by region depend on, and in little memory.

    Attributes:
        x, y: upper left pixel of its bounding box.
        shape: height and width of the bounding box.
        bits: its pixels, packed.
        valid: as of ``BoxMask``.
    """

    x: int
    y: int
    shape: tuple[int, int]
    bits: bytes
    valid: bool

    @classmethod
    def of(cls, x: int, y: int, mask: np.ndarray, *, valid: bool) -> _Mask:
        """The mask bool (h, w) in a window at x, y."""
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(x + int(columns[0]), y + int(rows[0]), inside.shape, _packed(inside), valid)


@dataclass(eq=False)
class _Seen:
    """What replays of an image have computed.

    Attributes:
        counts: what its seeds and its annotation have in common, by all that decides it.
        logits: the pixels whose logit in the mask of a box is above 0, packed, and the mask's predicted IoU.
        masks: by the settings of masks and the box.
        regions: the image cut along some of the masks.
        row: of these, in ``regions``.
        results: of the steps.
        detections: equal detections are one object here, so that results are looked up by identity.
    """

    counts: dict[Hashable, np.ndarray] = field(default_factory=dict)
    logits: dict[Hashable, tuple[bytes, float | None]] = field(default_factory=dict)
    masks: dict[Hashable, _Mask] = field(default_factory=dict)
    regions: Partition | None = None
    row: dict[_Mask, int] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    detections: dict[Hashable, Detections] = field(default_factory=dict)

    def same(self, d: Detections) -> Detections:
        """The object that stands for these detections."""
        return self.detections.setdefault(tuple(getattr(d, name).tobytes() for name in _ARRAYS), d)

    def cut(self, masks: Sequence[_Mask], truth: np.ndarray, classes: int) -> tuple[Partition, list[int]]:
        """The annotated image cut along at least these masks, and their rows in it."""
        if self.regions is None or len(self.row) > MOST_MASKS:
            self.regions, self.row = Partition(truth, classes), {}
        for mask in masks:
            if mask not in self.row:
                self.row[mask] = len(self.row)
                self.regions.add(mask.x, mask.y, _unpacked(mask.bits, mask.shape))
        return self.regions, [self.row[mask] for mask in masks]


class _Counting(DetectionSeeder):
    """A seeder that counts what seeds and annotations have in common; ``seed`` itself returns nothing."""

    _counts: np.ndarray
    _question: Any = None  # what the detector was asked last

    def prepare(self, shared: dict[Hashable, Any]) -> None:
        """Say once what the steps depend on.

        Args:
            shared: by the seeders of all settings: text features, and short names of groups of settings.
        """
        s = self._set
        templates = ("text", s.clip.templates)
        if templates not in shared:
            shared[templates] = self._competition
        self.__dict__["_competition"] = shared[templates]

        def own(*groups: str) -> tuple[bytes, ...]:
            return tuple(v.tobytes() for key, v in self._per_class.items() if key.startswith(groups))

        def short(*parts: Hashable) -> Hashable:
            name: Hashable = shared.setdefault(parts, len(shared))
            return name

        self._classifying = short(s.clip, self._assume_present, own("clip."))
        self._detecting = short(s.thresholds, s.nms, own(s.DETECTOR))
        self._filtering = short(s.thresholds, s.box, s.nms, s.verify, s.clip, own(s.DETECTOR, "verify."))
        self._cropping = short(s.clip, s.verify.crop, s.verify.context)
        self._looking = s.ignore.contest_margin, s.fusion.per_pixel
        m = self._masks
        self._upsampling = short("output", getattr(m, "output", None))
        self._trimming = short(self._upsampling, m.box_expand, m.min_region_area, m.min_box_coverage)
        self._masking = short(m)
        self._painting = short(s.fusion, s.ignore.boundary)
        fallback, own_thresholds = s.thresholds.fallback_threshold, own("ignore.", f"{s.DETECTOR}.ambiguous_threshold")
        self._ranking = short(self._assume_present, own_thresholds)
        self._deciding = short(s.fusion, self._masks, s.ignore, fallback, self._ranking)

    def count(self, example: Example, seen: _Seen) -> np.ndarray:
        """With ground truth, the confusion matrix int64 (C, C + 1); without, for each class whether its presence is a
        hit, a false alarm or a miss, int64 (K, 3).

        Args:
            example: the image.
            seen: of this image, to be extended.
        """
        self._known, self._example = seen, example
        self.seed(example.loaded)
        return self._counts

    def _compare(self, seed: Seed) -> np.ndarray:
        classes, example = len(self.class_set.names), self._example
        if example.truth is not None:
            return confusion_matrix(joint_histogram(example.truth, seed.labels), classes + 1)
        found, shown = (np.isin(np.arange(classes), c) for c in (seed.present, example.classes))
        presence: np.ndarray = np.stack([found & shown, found & ~shown, ~found & shown], 1)
        return presence.astype(np.int64)

    def _result(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        known = self._known.results
        if key not in known:
            known[key] = compute()
        return known[key]

    def _find(self, loaded: LoadedSample, evidence: dict[str, Any]) -> Found:
        def compute() -> tuple[Found, Any]:
            return super(_Counting, self)._find(loaded, evidence), self._question

        found: Found
        key = ("find", self._set.mode, self._classifying, self._detecting)
        found, self._question = self._result(key, compute)
        return found

    def _classify(self, image: np.ndarray) -> Classified:
        found: Classified = self._result(("classify", self._classifying), partial(super()._classify, image))
        return found

    def _detect(
        self, image: np.ndarray, classes: Sequence[int], *, joint: bool | None = None, rivals: Sequence[str] = ()
    ) -> Detections:
        self._question = tuple(classes), joint, tuple(rivals)
        query = partial(super()._detect, image, classes, joint=joint, rivals=rivals)
        key = ("detect", self._question, self._detecting)
        found: Detections = self._result(key, lambda: self._known.same(query()))
        return found

    def _filter(
        self, image: np.ndarray, found: Detections, asked: tuple[int, ...], given: tuple[int, ...] | None
    ) -> Detections:
        def compute() -> Detections:
            d = found
            for i, step in enumerate(self._steps(image, found, asked, given)):
                d = self._result((i, d, asked, given, step.depends), partial(self._run, step, d))
            return d

        d: Detections = self._result(("filter", found, asked, given, self._filtering), compute)
        return d

    def _run(self, step: Step, d: Detections) -> Detections:
        return self._known.same(step.run(d))

    def _crop_probabilities(self, image: np.ndarray, boxes: np.ndarray, given: tuple[int, ...] | None) -> np.ndarray:
        compute = partial(super()._crop_probabilities, image, boxes, given)
        probs: np.ndarray = self._result(("crops", boxes.tobytes(), given, self._cropping), compute)
        return probs

    def _decide(
        self,
        image: np.ndarray,
        d: Detections,
        asked: tuple[int, ...],
        given: tuple[int, ...] | None,
        evidence: dict[str, Any],
    ) -> Seed:
        def compute() -> Any:
            super(_Counting, self)._decide(image, d, asked, given, evidence)
            return self._counts

        self._counts = self._result(("decide", d, asked, given, self._deciding), compute)
        return _NOTHING

    def _with_roles(self, d: Detections, given: tuple[int, ...] | None) -> Detections:
        known = self._known.same(d)  # the fallback may have changed them
        roles = partial(super()._with_roles, known, given)
        decided: Detections = self._result(("roles", known, given, self._ranking), lambda: self._known.same(roles()))
        return decided

    def _empty(
        self, image: np.ndarray, label: int, asked: tuple[int, ...], evidence: dict[str, Any], note: str
    ) -> Seed:
        self._counts = self._result(
            ("empty", label), lambda: self._compare(super(_Counting, self)._empty(image, label, asked, evidence, note))
        )
        return _NOTHING

    def _paint(
        self,
        image: np.ndarray,
        d: Detections,
        asked: tuple[int, ...],
        given: tuple[int, ...] | None,
        present: tuple[int, ...],
        evidence: dict[str, Any],
        notes: list[str],
    ) -> Seed:
        if self._example.truth is None:
            self._counts = self._compare(replace(_NOTHING, present=present))
            return _NOTHING
        rows, boxes, looks = self._result(("looks", d, self._looking), partial(self._looks, d))
        by_pixel = self._set.fusion.per_pixel or self._set.ignore.boundary > 0
        masks = [] if by_pixel else self._masks_of(image, d, rows, boxes)
        key = (self._masking if by_pixel else None, self._painting, given, looks, *masks)
        counts = self._known.counts
        if key not in counts:
            if by_pixel:
                counts[key] = self._compare(super()._paint(image, d, asked, given, present, evidence, notes))
            else:
                counts[key] = self._count_regions(d, dict(zip(rows.tolist(), masks, strict=True)), given)
        self._counts = counts[key]
        return _NOTHING

    def _looks(self, d: Detections) -> tuple[np.ndarray, list[_Box], bytes]:
        """The rows of the detections that have masks, what identifies their boxes, and all else that decides labels
        besides settings and masks."""
        s, rows = self._set, np.flatnonzero(d.role != Role.DROPPED)
        combined, rank = d.combined[rows], d.class_score[rows]
        near = np.abs(combined[:, None] - combined) < np.float32(s.ignore.contest_margin)
        # Of the scores only their order and which of them contest pixels decide labels, but for fusion.per_pixel.
        scores = (combined, rank) if s.fusion.per_pixel else (combined[:, None] > combined, rank[:, None] > rank)
        parts = (d.boxes[rows], d.classes[rows], d.role[rows], d.query[rows], near, *scores)
        boxes = [(box.tobytes(), score.tobytes()) for box, score in zip(d.boxes[rows], d.scores[rows], strict=True)]
        return rows, boxes, b"".join(part.tobytes() for part in parts)

    def _masks_of(self, image: np.ndarray, d: Detections, rows: np.ndarray, boxes: Sequence[_Box]) -> list[_Mask]:
        """The masks of these rows."""
        known, logits = self._known.masks, self._known.logits
        unknown = [i for i, box in enumerate(boxes) if (self._masking, box) not in known]
        new = [i for i in unknown if (self._upsampling, boxes[i]) not in logits]
        if new:
            for i, (found, iou) in zip(new, self._mask_logits(image, d[rows[new]]), strict=True):
                logits[self._upsampling, boxes[i]] = _packed((found > 0).numpy()), iou
        for i in unknown:
            bits, iou = logits[self._upsampling, boxes[i]]
            box, shape = d.boxes[rows[i]], (image.shape[0], image.shape[1])
            low = iou is not None and iou < self._least_iou
            key = ("core" if low else self._trimming, boxes[i])
            if key not in known:
                kept = None if low else trimmed(_unpacked(bits, shape), box, self._masks)
                known[key] = _Mask.of(*(kept or core(box, shape)), valid=kept is not None)
            known[self._masking, boxes[i]] = known[key]
        return [known[self._masking, box] for box in boxes]

    def _count_regions(self, d: Detections, masks: Mapping[int, _Mask], given: tuple[int, ...] | None) -> np.ndarray:
        """The confusion matrix, where all pixels of a region have the same label: regions are fused as if they were
        pixels."""
        truth, classes = self._example.truth, len(self.class_set.names) + 1
        assert truth is not None
        regions, rows = self._known.cut(list(masks.values()), truth, classes)
        shape = 1, len(regions)
        by_region = {
            i: BoxMask(0, 0, regions.masks[row][None], np.zeros(shape, np.float16), None, mask.valid)
            for (i, mask), row in zip(masks.items(), rows, strict=True)
        }
        labels = self._fuse(d, by_region, shape, given, regions.overlaps(rows)).labels
        return regions.confusion(labels[0])


def _packed(mask: np.ndarray) -> bytes:
    """A bool mask, 8 pixels per byte."""
    return np.packbits(mask).tobytes()


def _unpacked(bits: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The bool mask of this shape."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1]).reshape(shape).view(bool)


class _CountingDinoSam(_Counting, DinoSam):
    pass


class _CountingSam3(_Counting, Sam3Seeder):
    def _mask_logits(self, image: np.ndarray, d: Detections) -> Iterator[tuple[torch.Tensor, float | None]]:
        classes, joint, rivals = self._question  # the masks come with the boxes, which may have been looked up
        DetectionSeeder._detect(self, image, classes, joint=joint, rivals=rivals)
        return super()._mask_logits(image, d)


class Bench:
    """Measures settings on examples.

    Args:
        backend: one of ``SETTINGS``.
        class_set: the classes.
        examples: the images.
        modes: how each of them is seeded.
        models: models that remember; see ``models.recorder``.
        memory: what they remember.
        outputs: of each image.
    """

    def __init__(
        self,
        backend: str,
        class_set: ClassSet,
        examples: Sequence[Example],
        modes: Sequence[Mode],
        models: ModelSet,
        memory: Memory,
        outputs: Sequence[ModelOutputs],
    ) -> None:
        self._backend, self._class_set, self._examples, self._modes = backend, class_set, examples, modes
        self._models, self._memory, self._outputs = models, memory, outputs
        self._seen = [_Seen() for _ in examples]
        self._shared: dict[Hashable, Any] = {}
        self._of_mode = {mode: Remembered(partial(self._measure, mode)) for mode in modes}

    def measure(self, settings: Mapping[str, Any]) -> np.ndarray:
        """Counts int64 (images, modes, ...); see ``_Counting.count``."""
        return np.stack([self._of_mode[mode](self._relevant(settings, mode)) for mode in self._modes], 1)

    def _relevant(self, settings: Mapping[str, Any], mode: Mode) -> Mapping[str, Any]:
        """The settings on which seeds of a mode depend."""
        if settings["clip.decision"] == "classifier":  # classes that count as given, in label_free
            return settings
        idle = ONLY_IN["label_free" if mode == "label_given" else "label_given"]
        return {key: value for key, value in settings.items() if ".".join(key.split(".", 2)[:2]) not in idle}

    def _measure(self, mode: Mode, settings: Mapping[str, Any]) -> np.ndarray:
        """Counts int64 (images, ...) of a mode."""
        seeder, counts = self._seeder(settings, mode), []
        for example, outputs, seen in zip(self._examples, self._outputs, self._seen, strict=True):
            self._memory.name, self._memory.outputs = example.loaded.sample.id, outputs
            counts.append(seeder.count(example, seen))
            if len(seen.results) > REMEMBERED // len(self._examples):
                seen.results.clear()
                seen.detections.clear()
        return np.stack(counts)

    def _seeder(self, settings: Mapping[str, Any], mode: Mode) -> _Counting:
        common, own = split_thresholds(settings)
        chosen: Any = override(SETTINGS[self._backend](), {**common, "mode": mode})
        class_set, m = with_thresholds(self._class_set, chosen, own), self._models
        seeder: _Counting
        if self._backend == "sam3":
            seeder = _CountingSam3(class_set, m.clip, m.sam3, chosen)
        else:
            seeder = _CountingDinoSam(class_set, m.clip, m.sam, m.detector, chosen)
        seeder.prepare(self._shared)
        return seeder
