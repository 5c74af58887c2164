"""The dino-sam seeder: CLIP names the classes, Grounding DINO finds their boxes, SAM cuts them out (part B).

Here the steps are only put together; each is a function of its own module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.classes import IGNORE, ClassSet
from ...errors import ImageError
from ...types import LoadedSample, Seed
from ..detection.box_masks import BoxMask, cut_masks
from ..detection.classification import (
    candidates,
    class_scores,
    negatives,
    probabilities,
    relative_decision,
    text_features,
    to_numpy,
    view_boxes,
)
from ..detection.crop_verification import combined_score, crop_boxes, decide
from ..detection.detection_filter import Verdicts, divide, settle_across_classes, survivors
from ..detection.detections import (
    Detections,
    assign_classes,
    beyond_limit,
    box_iou,
    duplicates,
    group_boxes,
    too_large,
    too_small,
)
from ..detection.fusion import Instance, fuse
from ..detection.fusion import duplicates as duplicate_masks
from .settings import PER_CLASS, Settings, check_thresholds, flatten, per_class

if TYPE_CHECKING:
    from ...models.clip import Clip
    from ...models.detector import Detector, Queries
    from ...models.masks import MaskModel


class GatedSeeder(ABC):
    """Seeds images by classification and detection with a mask for each box; CLIP says what may be there and looks at
    each box again. Which models find the boxes and their masks is left open.

    Modes: ``label_given`` (image-level labels are known; every given class keeps at least its best box, T42),
    ``label_free`` (CLIP proposes the classes, boxes and crops prune them), ``boxes_given`` (ground-truth boxes, to
    bound SAM's error: nothing is filtered or verified, and equal scores are no contest), and ``auto``.

    Args:
        class_set: the classes to find.
        clip: the model.
        settings: thresholds and policies.

    Raises:
        WsssError: the class set's own thresholds do not fit.
    """

    def __init__(self, class_set: ClassSet, clip: Clip, settings: Settings):
        check_thresholds(class_set)
        self.class_set = class_set
        self.settings = flatten(settings)
        self.needs_boxes = settings.mode == "boxes_given"
        self._set = settings
        self._clip = clip
        self._thr = {key: per_class(settings, key, class_set) for key in PER_CLASS}
        self._phrases = [
            (*phrases, *(class_set.part_phrases.get(name, ()) if settings.gd.part_phrases else ()))
            for name, phrases in zip(class_set.names, class_set.phrases, strict=True)
        ]

    @abstractmethod
    def _ask(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        """What there is of classes, given by their phrases, in an image; see ``Detector.detect``."""

    @abstractmethod
    def _cut(self, image: np.ndarray, found: Detections) -> list[BoxMask]:
        """The mask of each detection; ``found.query`` are places in what ``_ask`` gave for this image."""

    def seed(self, samples: Sequence[LoadedSample]) -> list[Seed]:
        """One seed per sample, in order; each image is seeded by itself.

        Raises:
            ImageError: labels or boxes that the mode needs are not known for an image.
        """
        return [self._seed(s) for s in samples]

    @cached_property
    def _text(self) -> np.ndarray:
        """(K + Kb, D) text features of the classes and of the background phrases."""
        background = negatives(self.class_set) if self._set.clip.negatives else ()
        return text_features(
            self._clip, [*self.class_set.phrases, *((p,) for p in background)], self._set.clip.templates
        )

    def _seed(self, loaded: LoadedSample) -> Seed:
        image, sample, shape = loaded.image, loaded.sample, loaded.image.shape[:2]
        mode = self._set.mode
        if mode == "auto":
            mode = "label_free" if sample.labels is None else "label_given"
        evidence: dict[str, Any] = {"mode": mode}
        if mode == "boxes_given":
            v = self._given_boxes(loaded)
            asked = tuple(sorted(set(v.found.classes.tolist())))
            return self._paint(image, v, asked, None, asked, evidence, [])

        given: tuple[int, ...] | None = None
        if mode == "label_given":
            if sample.labels is None:
                raise ImageError(f"{sample.id}: no image-level labels; give --labels FILE or set mode = label_free")
            asked = given = tuple(sorted(set(sample.labels)))
        else:
            asked, scores = self._classify(image)
            evidence["clip"] = [round(float(s), 6) for s in scores]
            if self._set.clip.decision == "classifier":
                asked = given = relative_decision(scores)
        if not asked:
            labels, confidence = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
            return Seed(labels, confidence, (), {}, evidence, ("no class is given: all background",))

        v = self._find(image, asked, given)
        present, notes = given, []
        if present is None:
            present, last = survivors(v, self._set.gd.fallback_thr)
            if not present:
                evidence["detections"] = self._describe(v, {})
                labels, confidence = np.full(shape, IGNORE, np.uint8), np.zeros(shape, np.float32)
                note = "no candidate class has a box: all pixels are 255"
                return Seed(labels, confidence, (), dict.fromkeys(asked, 0.0), evidence, (note,))
            if last is not None:
                name = self.class_set.names[present[0]]
                notes.append(f"no box survived; kept the best one ({name}, {v.score[last]:.2f})")
        high_thr = self._thr["ignore.high_free" if given is None else "ignore.high"]
        divide(v, high_thr, self._thr["ignore.low"], self._thr["gd.low_thr"], given)
        return self._paint(image, v, asked, given, present, evidence, notes)

    # classes

    def _classify(self, image: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
        """Candidate classes and the ranking score (K,) of every class."""
        c = self._set.clip
        height, width = image.shape[:2]
        views = to_numpy(self._clip.encode_views(image, view_boxes(height, width, c.views)))
        probs = probabilities(views, self._text, c.scale)[:, : len(self.class_set.names)]
        glob, loc, score = class_scores(probs, c.local_weight)
        limit = c.max_candidates or self.class_set.max_candidates
        return candidates(glob, loc, score, self._thr["clip.tau_glob"], self._thr["clip.tau_loc"], limit), score

    # boxes

    def _given_boxes(self, loaded: LoadedSample) -> Verdicts:
        """Ground-truth boxes as detections of score 1."""
        if loaded.boxes is None:
            raise ImageError(f"{loaded.sample.id}: no ground-truth boxes, which mode = boxes_given needs")
        height, width = loaded.image.shape[:2]
        boxes = np.clip(loaded.boxes.xyxy, 0, [width, height, width, height]).astype(np.float32).reshape(-1, 4)
        n = len(boxes)
        found = Detections(
            boxes, np.asarray(loaded.boxes.classes, np.int64), np.ones(n, np.float32), np.arange(n), np.ones(n, bool)
        )
        verdicts = Verdicts.of(found)
        verdicts.drop("small", lambda d: too_small(d, (height, width), 0, 0))
        verdicts.pool[:] = np.where(verdicts.alive, "high", "dropped")
        return verdicts

    def _detect(self, image: np.ndarray, classes: Sequence[int], *, joint: bool) -> Detections:
        phrases = [self._phrases[c] for c in classes]
        queries = self._ask(image, phrases, joint=joint)
        boxes, scores, by_class = (to_numpy(x) for x in (queries.boxes, queries.scores, queries.class_scores))
        return assign_classes(boxes, scores, by_class, classes, self._thr["gd.box_thr"], image.shape[:2])

    def _find(self, image: np.ndarray, asked: tuple[int, ...], given: tuple[int, ...] | None) -> Verdicts:
        """Detect, filter (B5) and verify (B6). ``given`` is None where labels are not."""
        s, shape = self._set, image.shape[:2]
        joint = s.gd.caption == "joint"
        queries = self._detect(image, asked, joint=joint)
        floor = self._thr["gd.low_thr"]
        if given is None:
            floor = np.minimum(floor, np.float32(s.gd.fallback_thr))
        v = Verdicts.of(queries[queries.scores >= floor[queries.classes]])
        v.drop("small", lambda d: too_small(d, shape, s.box.min_side, s.box.min_area))
        v.drop(
            "large",
            lambda d: too_large(d, shape, s.box.max_cover, s.box.cover_score, s.box.inside, even_alone=given is None),
        )
        v.drop("duplicate", lambda d: duplicates(d, s.nms.per_class))
        v.drop("group", lambda d: group_boxes(d, s.box.inside, s.box.group_cover))
        if given is not None:
            v = self._rescue(image, v, given, None if joint and len(given) > 1 else queries)
        self._verify(image, v, asked, given)

        settle_across_classes(v, s.nms.cross_class, given or ())
        v.drop("limit", lambda d: beyond_limit(d, s.box.limit, given or ()))
        return v

    def _rescue(self, image: np.ndarray, v: Verdicts, given: tuple[int, ...], queries: Detections | None) -> Verdicts:
        """For each given class without a strong box, the best box of a caption of its own (B5.5).

        Args:
            image: the image.
            v: verdicts so far.
            given: the given classes.
            queries: all detections, where each class has already had a caption of its own; else None.
        """
        s = self._set
        missing = [c for c in given if not (v.alive & v.found.strong & (v.found.classes == c)).any()]
        if not missing:
            return v
        if queries is None:
            queries = self._detect(image, missing, joint=False)
        queries = queries[~too_small(queries, image.shape[:2], s.box.min_side, s.box.min_area)]
        saved = []
        for c in missing:
            best = np.flatnonzero((queries.classes == c) & (queries.scores >= np.float32(s.gd.rescue_thr)))[:1]
            if len(best):
                saved.append(queries[best])
                v.drop(
                    "duplicate",
                    lambda d, box=saved[-1].boxes, c=c: (  # type: ignore[misc]
                        (d.classes == c) & (box_iou(d.boxes, box)[:, 0] > np.float32(s.nms.per_class))
                    ),
                )
        if not saved:
            return v
        rescued = Detections.concatenate(saved)
        rescued = replace(rescued, strong=np.ones(len(rescued), bool))
        both = Verdicts.of(Detections.concatenate([v.found, rescued]))
        both.why[: len(v.why)] = v.why
        return both

    def _verify(self, image: np.ndarray, v: Verdicts, asked: tuple[int, ...], given: tuple[int, ...] | None) -> None:
        """Crop probabilities, rejections and new classes where labels are not given, and combined scores."""
        s = self._set.verify
        if not s.enabled or (given is not None and len(given) == 1):
            return
        k = len(self.class_set.names)
        sides = (v.found.boxes[:, 2:] - v.found.boxes[:, :2]).min(1)
        rows = np.flatnonzero(v.alive & (sides >= s.min_side))
        if len(rows):
            views = to_numpy(self._clip.encode_views(image, crop_boxes(v.found.boxes[rows], image.shape[:2], s.expand)))
            columns = np.arange(k) if given is None else np.array(given)
            text = np.concatenate([self._text[columns], self._text[k:]])
            probs = np.zeros((len(rows), k), np.float32)
            probs[:, columns] = probabilities(views, text, self._set.clip.scale)[:, : len(columns)]
            if given is None:
                wanted = np.isin(np.arange(k), asked)
                accepted, classes = decide(
                    probs, v.found.classes[rows], wanted, self._thr["verify.accept"], s.top, s.relabel, s.relabel_below
                )
                v.why[rows[~accepted]] = "rejected"
                all_classes = v.found.classes.copy()
                all_classes[rows] = classes
                v.found = replace(v.found, classes=all_classes)
            v.prob[rows] = probs[np.arange(len(rows)), v.found.classes[rows]]
        v.score = np.where(
            np.isnan(v.prob),
            np.float32(s.small_factor) * v.found.scores,
            combined_score(v.found.scores, v.prob, s.weight, s.floor),
        )

    # pixels

    def _paint(
        self,
        image: np.ndarray,
        v: Verdicts,
        asked: tuple[int, ...],
        given: tuple[int, ...] | None,
        present: tuple[int, ...],
        evidence: dict[str, Any],
        notes: list[str],
    ) -> Seed:
        """Cut out the boxes of both pools and fuse the masks."""
        s, shape = self._set, image.shape[:2]
        order = v.found.order(v.score)
        rows = order[v.pool[order] != "dropped"]
        cuts: dict[int, BoxMask] = {}
        if len(rows):
            cuts = dict(zip(rows.tolist(), self._cut(image, v.found[rows]), strict=True))
        for row, mask in cuts.items():
            if not mask.sound:
                v.pool[row], v.why[row] = "low", "mask"
        if s.fuse.policy != "order":
            high = [row for row in cuts if v.pool[row] == "high"]
            twins = duplicate_masks([_instance(v, row, cuts[row]) for row in high], s.fuse.dup_iou)
            for row, twin in zip(high, twins, strict=True):
                if twin:
                    v.pool[row], v.why[row] = "low", "same mask"

        masked = {int(v.found.classes[row]) for row, mask in cuts.items() if mask.sound}
        missing = [self.class_set.names[c] for c in given or () if c not in masked]
        if missing:
            notes.append(f"no mask for {', '.join(missing)}: uncovered pixels are 255")
        pools: dict[str, list[Instance]] = {"high": [], "low": []}
        for row, mask in cuts.items():
            pools[v.pool[row]].append(_instance(v, row, mask))
        labels, confidence = fuse(
            pools["high"],
            pools["low"],
            shape,
            policy=s.fuse.policy,
            contained=s.fuse.contained,
            exact=s.fuse.exact,
            contest_delta=0.0 if evidence["mode"] == "boxes_given" else s.ignore.contest_delta,
            boundary=s.ignore.boundary,
            missing=bool(missing),
        )
        ignored = np.count_nonzero(labels == IGNORE) / labels.size
        if ignored > s.ignore.cap:
            notes.append(f"{ignored:.0%} of the pixels are 255")
        used = v.pool != "dropped"
        scores = {c: round(float(v.score[used & (v.found.classes == c)].max(initial=0)), 6) for c in asked}
        evidence["detections"] = self._describe(v, cuts)
        return Seed(labels, confidence, present, scores, evidence, tuple(notes))

    def _describe(self, v: Verdicts, cuts: dict[int, BoxMask]) -> list[dict[str, Any]]:
        """The detections as plain JSON values, best first."""
        return [
            {
                "class": self.class_set.names[v.found.classes[i]],
                "box": [round(float(x), 2) for x in v.found.boxes[i]],
                "det": round(float(v.found.scores[i]), 6),
                "crop": None if np.isnan(v.prob[i]) else round(float(v.prob[i]), 6),
                "score": round(float(v.score[i]), 6),
                "pool": v.pool[i] or "dropped",
                "why": v.why[i],
                "iou": _rounded(cuts[i].iou) if i in cuts else None,
            }
            for i in v.found.order(v.score).tolist()
        ]


class DinoSam(GatedSeeder):
    """Seeds images by classification, detection and box-prompted segmentation, all three models frozen.

    Args:
        class_set: the classes to find.
        clip, sam, detector: the models.
        settings: thresholds and policies.

    Raises:
        WsssError: the class set's own thresholds do not fit.
    """

    def __init__(
        self,
        class_set: ClassSet,
        clip: Clip,
        sam: MaskModel,
        detector: Detector,
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ):
        super().__init__(class_set, clip, settings)
        self._sam, self._detector = sam, detector

    def _ask(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        return self._detector.detect(image, phrases, joint=joint, score=self._set.map.score)

    def _cut(self, image: np.ndarray, found: Detections) -> list[BoxMask]:
        s = self._set.sam
        return cut_masks(
            self._sam,
            self._sam.embed(image),
            found.boxes,
            image.shape[:2],
            kind=s.mask,
            expand=s.clip_box_expand,
            min_area=s.min_area,
            min_cover=s.min_cover,
            min_iou=s.min_iou,
            core=s.core,
        )


def _rounded(iou: float | None) -> float | None:
    return None if iou is None else round(iou, 6)


def _instance(v: Verdicts, row: int, cut: BoxMask) -> Instance:
    x0, y0, x1, y1 = v.found.boxes[row].tolist()
    return Instance(
        int(v.found.classes[row]),
        float(v.score[row]),
        (x0, y0, x1, y1),
        cut.x,
        cut.y,
        cut.mask,
        cut.probability,
        int(v.found.query[row]),
    )
