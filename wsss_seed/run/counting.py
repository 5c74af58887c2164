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
class _Seen:
    """What replays of an image have computed.

    Attributes:
        counts: what its seeds and its annotation have in common, by all that decides it.
        masks: the mask of each box, by the settings of masks.
        results: of the steps.
        detections: equal detections are one object here, so that results are looked up by identity.
    """

    counts: dict[Hashable, np.ndarray] = field(default_factory=dict)
    masks: dict[Hashable, dict[Hashable, BoxMask]] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    detections: dict[Hashable, Detections] = field(default_factory=dict)

    def same(self, d: Detections) -> Detections:
        """The object that stands for these detections."""
        return self.detections.setdefault(tuple(getattr(d, name).tobytes() for name in _ARRAYS), d)

    def masks_of(self, settings: Hashable) -> dict[Hashable, BoxMask]:
        """The masks under these settings; only those of the last few settings are kept, since they are large."""
        self.masks[settings] = masks = self.masks.pop(settings, {})
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
        self._painting = short(s.fusion, self._masks, s.ignore.boundary)
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
        rows = np.flatnonzero(d.role != Role.DROPPED)
        combined, rank = d.combined[rows], d.class_score[rows]
        near = np.abs(combined[:, None] - combined) < np.float32(self._set.ignore.contest_margin)
        # Of the scores only their order and which of them contest pixels decide labels, but for fusion.per_pixel.
        if self._set.fusion.per_pixel:
            scores = combined, rank
        else:
            scores = combined[:, None] > combined, rank[:, None] > rank
        parts = (d.boxes[rows], d.classes[rows], d.role[rows], d.query[rows], near, *scores)
        key = (self._painting, given, present, *(part.tobytes() for part in parts))
        counts = self._known.counts
        if key not in counts:
            counts[key] = self._compare(super()._paint(image, d, asked, given, present, evidence, notes))
        self._counts = counts[key]
        return _NOTHING

    def _describe(self, d: Detections, masks: Mapping[int, BoxMask]) -> list[dict[str, Any]]:
        return []

    def _segment(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        known = self._known.masks_of(self._masks)
        keys = [(box.tobytes(), score.tobytes()) for box, score in zip(d.boxes, d.scores, strict=True)]
        new = np.array([i for i, key in enumerate(keys) if key not in known], int)
        if len(new):
            known.update(zip([keys[i] for i in new], self._new_masks(image, d[new]), strict=True))
        return [known[key] for key in keys]


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
