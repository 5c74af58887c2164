"""What seeds and ground truth have in common under many settings.

The seeder is replayed on recorded outputs of the models. Its steps are functions of the detections and of a few
settings each, so the result of a step is computed once: a change of one setting costs the steps that depend on it,
until a step returns what it has returned before. Most changes leave the seed of most images as it was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from ..config import override
from ..data.classes import ClassSet
from ..evaluation.confusion import confusion_matrix, joint_histogram
from ..models.outputs import ModelOutputs
from ..models.recorder import Memory
from ..models.zoo import ModelSet
from ..seeding.detection.box_masks import BoxMask
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

Mode = Literal["label_given", "label_free"]

SETTINGS: Mapping[str, type[DinoSamSettings] | type[Sam3Settings]] = {"dino-sam": DinoSamSettings, "sam3": Sam3Settings}
"""The backends that can be replayed, and their settings."""

REMEMBERED = 200_000
"""Most results of steps that are kept, over all images: about 1 GB."""

MASK_SETTINGS = 3
"""Settings of masks of which the masks are kept."""

_ARRAYS = tuple(f.name for f in fields(Detections))


_NOTHING = Seed(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32), ())


@dataclass(eq=False)
class _Masks:
    """The masks of an image under the same settings of masks.

    Attributes:
        regions: the image cut along the masks.
        of: the mask of each box.
        row: among the masks of ``regions``, by box.
    """

    regions: Partition
    of: dict[Hashable, BoxMask] = field(default_factory=dict)
    row: dict[Hashable, int] = field(default_factory=dict)

    def rows(self, boxes: Sequence[Hashable]) -> list[int]:
        """The rows of the masks of these boxes in ``regions``."""
        for box in boxes:
            if box not in self.row:
                self.row[box] = len(self.row)
                mask = self.of[box]
                self.regions.add(mask.x, mask.y, mask.mask)
        return [self.row[box] for box in boxes]


@dataclass(eq=False)
class _Seen:
    """What replays of an image have computed.

    Attributes:
        counts: what its seeds and its annotation have in common, by all that decides it.
        masks: by the settings of masks.
        content: what identifies the mask of a box, by the settings of masks and the box.
        results: of the steps.
        detections: equal detections are one object here, so that results are looked up by identity.
    """

    counts: dict[Hashable, np.ndarray] = field(default_factory=dict)
    masks: dict[Hashable, _Masks] = field(default_factory=dict)
    content: dict[Hashable, bytes] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    detections: dict[Hashable, Detections] = field(default_factory=dict)

    def same(self, d: Detections) -> Detections:
        """The object that stands for these detections."""
        return self.detections.setdefault(tuple(getattr(d, name).tobytes() for name in _ARRAYS), d)

    def masks_of(self, settings: Hashable, new: Callable[[], _Masks]) -> _Masks:
        """The masks under these settings; only those of the last few settings are kept, since they are large."""
        self.masks[settings] = masks = self.masks.pop(settings, None) or new()
        while len(self.masks) > MASK_SETTINGS:
            del self.masks[next(iter(self.masks))]
        return masks


class _Counting(DetectionSeeder):
    """A seeder that counts what seeds and annotations have in common; ``seed`` itself returns nothing."""

    _counts: np.ndarray
    _masks: Any  # the backend's settings of masks
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
        self._looking = s.ignore.contest_margin, s.fusion.per_pixel
        self._masking = short(self._masks)
        self._by_pixel = s.fusion.per_pixel or s.ignore.boundary > 0
        self._painting = short(s.fusion, s.ignore.boundary, self._masks if self._by_pixel else None)
        fallback, own_thresholds = s.thresholds.fallback_threshold, own("ignore.", f"{s.DETECTOR}.ambiguous_threshold")
        self._deciding = short(s.fusion, self._masks, s.ignore, fallback, self._assume_present, own_thresholds)

    @abstractmethod
    def _new_masks(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        """``_segment`` of the backend."""

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
        masks, content, counts = None, self._known.content, self._known.counts
        if not all((self._masking, box) in content for box in boxes):
            masks = self._masks_of(image, d, rows, boxes)
        key = (self._painting, given, looks, *(content[self._masking, box] for box in boxes))
        if key not in counts:
            masks = masks or self._masks_of(image, d, rows, boxes)
            if self._by_pixel:
                counts[key] = self._compare(super()._paint(image, d, asked, given, present, evidence, notes))
            else:
                counts[key] = self._count_regions(d, dict(zip(rows.tolist(), boxes, strict=True)), masks, given)
        self._counts = counts[key]
        return _NOTHING

    def _looks(self, d: Detections) -> tuple[np.ndarray, list[Hashable], bytes]:
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

    def _masks_of(self, image: np.ndarray, d: Detections, rows: np.ndarray, boxes: Sequence[Hashable]) -> _Masks:
        """The known masks, among them those of these rows."""
        truth, classes = self._example.truth, len(self.class_set.names) + 1
        assert truth is not None
        masks = self._known.masks_of(self._masking, lambda: _Masks(Partition(truth, classes)))
        new = [i for i, box in enumerate(boxes) if box not in masks.of]
        if new:
            for i, mask in zip(new, self._new_masks(image, d[rows[new]]), strict=True):
                masks.of[boxes[i]] = mask
                self._known.content[self._masking, boxes[i]] = _content(mask)
        return masks

    def _count_regions(
        self, d: Detections, boxes: Mapping[int, Hashable], masks: _Masks, given: tuple[int, ...] | None
    ) -> np.ndarray:
        """The confusion matrix of labels that are the same throughout each region: each is fused as if it were a
        pixel."""
        rows, regions = masks.rows(list(boxes.values())), masks.regions
        shape = 1, len(regions)
        by_region = {
            i: BoxMask(0, 0, regions.masks[row][None], np.zeros(shape, np.float16), None, masks.of[box].valid)
            for (i, box), row in zip(boxes.items(), rows, strict=True)
        }
        labels = self._fuse(d, by_region, shape, given, regions.overlaps(rows)).labels
        return regions.confusion(labels[0])

    def _segment(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        rows, boxes, _ = self._looks(d)
        masks = self._masks_of(image, d, rows, boxes)
        return [masks.of[box] for box in boxes]


def _content(mask: BoxMask) -> bytes:
    """Identifies which pixels a mask contains and whether it is valid, all that labels by region depend on."""
    y, x = (np.flatnonzero(mask.mask.any(axis)) for axis in (1, 0))
    inside = mask.mask[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    place = np.array([mask.x + x[0], mask.y + y[0], *inside.shape, mask.valid])
    return blake2b(place.tobytes() + inside.tobytes(), digest_size=16).digest()


class _CountingDinoSam(_Counting, DinoSam):
    def _new_masks(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        return DinoSam._segment(self, image, d)


class _CountingSam3(_Counting, Sam3Seeder):
    def _new_masks(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        classes, joint, rivals = self._question  # the masks come with the boxes, which may have been looked up
        DetectionSeeder._detect(self, image, classes, joint=joint, rivals=rivals)
        return Sam3Seeder._segment(self, image, d)


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

    def measure(self, settings: Mapping[str, Any]) -> np.ndarray:
        """Counts int64 (images, modes, ...); see ``_Counting.count``."""
        seeders = [self._seeder(settings, mode) for mode in self._modes]
        counts = []
        for example, outputs, seen in zip(self._examples, self._outputs, self._seen, strict=True):
            self._memory.name, self._memory.outputs = example.loaded.sample.id, outputs
            counts.append(np.stack([seeder.count(example, seen) for seeder in seeders]))
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
