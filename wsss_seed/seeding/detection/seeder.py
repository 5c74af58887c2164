"""The shared seeder of dino-sam and sam3: classify, detect, filter, verify, segment and fuse.

This module only composes the steps; each step has its own module. The pipeline follows arXiv 2405.06586, whose code is
not released. Steps and thresholds that the paper leaves open are our own or follow related work (Sun et al.,
arXiv 2305.01586), as noted in each module.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...config import flatten
from ...data.classes import IGNORE, ClassSet
from ...errors import ImageError
from ...types import Instance, LoadedSample, Seed
from .box_masks import BoxMask, trim_masks
from .classification import (
    candidates,
    class_scores,
    far_from,
    negatives,
    probabilities,
    relative_decision,
    text_features,
    to_numpy,
    view_boxes,
)
from .crop_verification import combined_score, crop_boxes, verify
from .detection_filter import (
    add_rescued,
    assign_roles,
    cross_class_nms,
    drop_distractors,
    drop_group_boxes,
    drop_large,
    drop_small,
    keep_fallback,
    limit_detections,
    nms,
    present_classes,
    too_small,
)
from .detections import Detections, Reason, Role, assign_classes, box_iou
from .fusion import ScoredMask, duplicate_masks, fuse, overlaps
from .patch_classification import patch_scores
from .per_class import thresholds_of
from .settings import DetectionSettings, MaskSettings, check_thresholds, per_class

if TYPE_CHECKING:
    import torch

    from ...models.clip import Clip
    from ...models.detector import Queries


class Step(NamedTuple):
    """A filter of detections.

    Attributes:
        run: the filter.
        depends: all that its result depends on besides the detections, the image, and the classes asked for and given.
    """

    run: Callable[[Detections], Detections]
    depends: Hashable


class Classified(NamedTuple):
    """CLIP's view of an image.

    Attributes:
        asked: the candidate classes, foreground indices, ascending.
        scores: float32 (K,) ranking score of every class.
        rivals: distractors for the detector's caption.
        why: for each candidate, the setting that made it one and the value that met it.
    """

    asked: tuple[int, ...]
    scores: np.ndarray
    rivals: tuple[str, ...]
    why: Mapping[int, tuple[str, float]]


class Found(NamedTuple):
    """What the detector found.

    Attributes:
        asked: the classes it was asked for, foreground indices, ascending.
        given: the given classes; None without given labels.
        boxes: the detections; None if no class was asked for.
    """

    asked: tuple[int, ...]
    given: tuple[int, ...] | None
    boxes: Detections | None


class Fused(NamedTuple):
    """Masks that were fused into a label map.

    Attributes:
        detections: with the roles and reasons that the masks decided.
        painted: the masks of the confident boxes.
        labels: uint8 (H, W).
        confidence: float32 (H, W).
        missing: given classes without a mask.
    """

    detections: Detections
    painted: list[ScoredMask]
    labels: np.ndarray
    confidence: np.ndarray
    missing: tuple[int, ...]


TOO_NEAR = 0.9
"""Cosine of text features above which a distractor is too near a class to compete with it."""


class DetectionSeeder(ABC):
    """Seeds images by classification, detection and a mask per box: CLIP proposes classes and verifies the crop of each
    box. Subclasses provide the models that find the boxes and their masks.

    Modes: ``label_given`` (image-level labels are known, and every given class keeps at least its best box, because
    verification may only lower its score), ``label_free`` (CLIP proposes classes, which boxes and crops prune),
    ``boxes_given`` (ground-truth boxes, as an upper bound for the masks: nothing is filtered, verified or contested),
    and ``auto`` (label-given if the labels of an image are known, else label-free).

    Args:
        class_set: the classes to find.
        clip: the CLIP model.
        settings: the settings.

    Raises:
        WsssError: invalid per-class thresholds in the class set, or a CLIP model whose patches cannot be scored.
    """

    def __init__(self, class_set: ClassSet, clip: Clip, settings: DetectionSettings):
        check_thresholds(settings, class_set)
        self.class_set = class_set
        self.settings: Mapping[str, Any] = {**flatten(settings), **thresholds_of(class_set, settings)}
        self.needs_boxes = settings.mode == "boxes_given"
        self._set = settings
        present = settings.assume_present
        self._assume_present = class_set.assume_present if present == "auto" else present == "yes"
        self._clip = clip
        self._once = threading.Lock()  # images may be seeded in several threads
        self._logit_scale = settings.clip.logit_scale or clip.logit_scale
        if settings.clip.scores == "patches":
            clip.require_patches()
        self._per_class = {key: per_class(settings, key, class_set) for key in settings.per_class_keys()}
        self._box_threshold, self._score_floor = (
            self._per_class[f"{settings.DETECTOR}.{key}"] for key in ("box_threshold", "ambiguous_threshold")
        )
        self._phrases = [
            (*phrases, *(class_set.part_phrases.get(name, ()) if settings.thresholds.part_phrases else ()))
            for name, phrases in zip(class_set.names, class_set.phrases, strict=True)
        ]

    _masks: MaskSettings
    _least_iou = 0.0
    """Predicted IoU below which a mask is dropped."""

    joint = False
    """Whether classes share a caption and therefore compete; classes without a box are then queried again, alone."""

    @abstractmethod
    def _detect_phrases(self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool) -> Queries:
        """All detections of some classes, given by their phrases; see ``Detector.detect``."""

    @abstractmethod
    def _mask_logits(self, image: np.ndarray, d: Detections) -> Iterator[tuple[torch.Tensor, float | None]]:
        """For each detection, the logits (H, W) of its mask, on the CPU, and its predicted IoU, if any; ``d.query`` are
        indices in the output of ``_detect_phrases`` for this image."""

    def _segment(self, image: np.ndarray, d: Detections) -> list[BoxMask]:
        """The mask of each detection."""
        shape = image.shape[0], image.shape[1]
        return trim_masks(self._mask_logits(image, d), d.boxes, shape, self._masks, self._least_iou)

    def seed(self, loaded: LoadedSample) -> Seed:
        """Seed one image.

        Raises:
            ImageError: the mode needs labels or boxes, but this image has none.
        """
        image = loaded.image
        if self._set.mode == "boxes_given":
            d = self._given_boxes(loaded)
            present = tuple(sorted(set(d.classes.tolist())))
            return self._paint(image, d, present, None, present, {"mode": self._set.mode}, [])

        evidence: dict[str, Any] = {}
        asked, given, found = self._find(loaded, evidence)
        if found is None:
            note = "no class given" if given is not None else "no class found"
            return self._empty(image, 0, (), evidence, f"{note}: all pixels are background")
        return self._decide(image, self._filter(image, found, asked, given), asked, given, evidence)

    def _find(self, loaded: LoadedSample, evidence: dict[str, Any]) -> Found:
        """The classes to ask for and their boxes."""
        image, sample = loaded.image, loaded.sample
        mode = self._set.mode
        if mode == "auto":
            mode = "label_free" if sample.labels is None else "label_given"
        evidence["mode"] = mode
        given: tuple[int, ...] | None = None
        rivals: tuple[str, ...] = ()
        if mode == "label_given":
            if sample.labels is None:
                raise ImageError(f"{sample.id}: no image-level labels; give `labels` a file or set mode = label_free")
            asked = given = tuple(sorted(set(sample.labels)))
        elif self._set.clip.decision == "none":
            asked = tuple(range(len(self.class_set.names)))
        else:
            asked, scores, rivals, why = self._classify(image)
            evidence["clip"] = [round(float(s), 6) for s in scores]
            evidence["asked"] = {self.class_set.names[c]: [key, round(value, 6)] for c, (key, value) in why.items()}
            if self._set.clip.decision == "classifier":
                asked = given = relative_decision(scores)
        found: Detections | None = None
        if given is None:
            asked, found, by_detector = self._with_detected(image, asked, rivals)
            key = f"{self._set.DETECTOR}.candidate_threshold"
            for c, score in by_detector.items():
                evidence.get("asked", {}).setdefault(self.class_set.names[c], [key, round(score, 6)])
        if found is None and asked:
            found = self._detect(image, asked, rivals=() if given is not None else rivals)
        return Found(asked, given, found)

    def _decide(
        self,
        image: np.ndarray,
        d: Detections,
        asked: tuple[int, ...],
        given: tuple[int, ...] | None,
        evidence: dict[str, Any],
    ) -> Seed:
        """Decide which of the filtered boxes paint, and paint them."""
        notes: list[str] = []
        if given is None and self._assume_present:
            d, notes = self._with_fallback(d)
        present = present_classes(d) if given is None else given
        if not present and self._assume_present:
            evidence["detections"] = self._describe(d, {})
            return self._empty(image, IGNORE, asked, evidence, "no candidate class has a box: all pixels are ignored")
        return self._paint(image, self._with_roles(d, given), asked, given, present, evidence, notes)

    # classes

    @property
    def _competition(self) -> tuple[tuple[str, ...], np.ndarray]:
        with self._once:
            return self._computed_competition

    @cached_property
    def _computed_competition(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The distractors that are not too near a class; and the text features (K + B, D) of the K classes, these
        distractors, the negative and the background phrases."""

        def features(phrases: Sequence[Sequence[str]]) -> np.ndarray:
            if not phrases:
                return np.zeros((0, classes.shape[1]), np.float32)
            return text_features(self._clip, phrases, self._set.clip.templates)

        classes = text_features(self._clip, self.class_set.phrases, self._set.clip.templates)
        words = self.class_set.distractors
        distractors = features([(w,) for w in words])
        far = far_from(distractors, classes, TOO_NEAR)
        background = features([(p,) for p in (*self.class_set.negatives, *negatives(self.class_set))])
        kept = tuple(w for w, f in zip(words, far, strict=True) if f)
        return kept, np.concatenate([classes, distractors[far], background])

    @property
    def _text(self) -> np.ndarray:
        """(K + B, D) text features of the K classes and of everything that competes with them."""
        return self._competition[1]

    def _classify(self, image: np.ndarray) -> Classified:
        c, k = self._set.clip, len(self.class_set.names)
        limit = c.max_candidates or self.class_set.max_candidates
        if c.scores == "patches":
            seen = patch_scores(self._clip, image, self._text, k, self._logit_scale)
            score = seen[:k]
            asked = relative_decision(score, c.patch_threshold, limit)
            why = {i: ("clip.patch_threshold", float(score[i])) for i in asked}
        else:
            height, width = image.shape[:2]
            features = to_numpy(self._clip.encode_views(image, view_boxes(height, width, c.grids)))
            everything = probabilities(features, self._text, self._logit_scale)
            seen = everything.max(0)
            glob, loc, score = class_scores(everything[:, :k], c.local_weight)
            thresholds = self._per_class["clip.global_threshold"], self._per_class["clip.local_threshold"]
            asked = candidates(glob, loc, score, *thresholds, limit, assume_present=self._assume_present)
            why = {}
            for i in asked:
                views = {"clip.global_threshold": glob[i], "clip.local_threshold": loc[i]}
                met = [k for (k, v), least in zip(views.items(), thresholds, strict=True) if v >= least[i]]
                why[i] = (met[0], float(views[met[0]])) if met else ("assume_present", float(score[i]))
        distractors = self._competition[0]
        most_seen = np.argsort(-seen[k : k + len(distractors)], kind="stable")[: c.distractors]
        rivals = (*(distractors[i] for i in most_seen), *self.class_set.negatives)
        return Classified(asked, score, rivals, why)

    def _with_detected(
        self, image: np.ndarray, asked: tuple[int, ...], rivals: Sequence[str]
    ) -> tuple[tuple[int, ...], Detections | None, dict[int, float]]:
        """The candidates and the classes that the detector finds when asked for all of them at once: CLIP's global and
        local views overlook objects that are small or out of place, which a detector does not. If all classes are
        candidates then, also the detections, which need not be repeated. Last, the best score of each class that the
        detector found."""
        threshold, every = self._set.thresholds.candidate_threshold, range(len(self.class_set.names))
        if threshold >= 1 or len(asked) == len(every):
            return asked, None, {}
        d = self._detect(image, every, rivals=rivals)
        rows = d.kept & (d.scores >= np.float32(threshold))
        best = {int(c): float(d.scores[rows & (d.classes == c)].max()) for c in np.unique(d.classes[rows])}
        asked = tuple(sorted({*asked, *best}))
        return asked, d if len(asked) == len(every) else None, best

    # boxes

    def _given_boxes(self, loaded: LoadedSample) -> Detections:
        """Ground-truth boxes as confident detections of score 1."""
        if loaded.boxes is None:
            raise ImageError(f"{loaded.sample.id}: no ground-truth boxes, which mode = boxes_given needs")
        height, width = loaded.image.shape[:2]
        boxes = np.clip(loaded.boxes.xyxy, 0, [width, height, width, height]).astype(np.float32).reshape(-1, 4)
        n = len(boxes)
        d = Detections.of(
            boxes, np.asarray(loaded.boxes.classes, np.int64), np.ones(n, np.float32), np.arange(n), np.ones(n, bool)
        )
        without_limits = replace(self._set.box, min_side=0, min_area=0.0)
        d = drop_small(d, (height, width), without_limits)
        return d.with_role(d.kept, Role.CONFIDENT).with_role(~d.kept, Role.DROPPED)

    def _detect(
        self, image: np.ndarray, classes: Sequence[int], *, joint: bool | None = None, rivals: Sequence[str] = ()
    ) -> Detections:
        phrases = [*(self._phrases[c] for c in classes), *((r,) for r in rivals)]
        k = len(self.class_set.names)
        queries = self._detect_phrases(image, phrases, joint=self.joint if joint is None else joint)
        boxes, scores, by_class = (to_numpy(x) for x in (queries.boxes, queries.scores, queries.class_scores))
        indices = (*classes, *range(k, k + len(rivals)))
        thresholds = np.concatenate([self._box_threshold, np.ones(len(rivals), np.float32)])
        d = assign_classes(boxes, scores, by_class, indices, thresholds, image.shape[:2])
        return drop_distractors(d, k, self._set.nms.iou_threshold)

    def _filter(
        self, image: np.ndarray, found: Detections, asked: tuple[int, ...], given: tuple[int, ...] | None
    ) -> Detections:
        """Drop the boxes that are not to be used. ``given`` is None without given labels."""
        d = found
        for step in self._steps(image, found, asked, given):
            d = step.run(d)
        return d

    def _steps(
        self, image: np.ndarray, found: Detections, asked: tuple[int, ...], given: tuple[int, ...] | None
    ) -> list[Step]:
        """The filters that reduce ``found`` to the boxes to use, in order."""
        s, shape, floor = self._set, image.shape[:2], self._lowest_scores(given)
        accept = self._per_class["verify.accept_threshold"]
        return [
            # Boxes below every threshold do not appear in the evidence.
            Step(lambda d: d[d.scores >= floor[d.classes]], floor.tobytes()),
            Step(partial(drop_small, shape=shape, settings=s.box), s.box),
            Step(partial(drop_large, shape=shape, settings=s.box, label_free=given is None), s.box),
            Step(partial(nms, iou_threshold=s.nms.iou_threshold), s.nms.iou_threshold),
            Step(drop_group_boxes, None),
            Step(partial(self._rescue, image=image, found=found, given=given), (found, s.thresholds, s.box, s.nms)),
            Step(
                partial(self._verify, image=image, asked=asked, given=given),
                (s.verify, s.clip, s.nms, accept.tobytes()),
            ),
            Step(
                partial(cross_class_nms, iou_threshold=s.nms.cross_class_iou_threshold, given=given or ()),
                s.nms.cross_class_iou_threshold,
            ),
            Step(partial(limit_detections, max_detections=s.box.max_detections, given=given or ()), s.box),
        ]

    def _lowest_scores(self, given: tuple[int, ...] | None) -> np.ndarray:
        """float32 (K,), the score of each class below which a box counts for nothing."""
        lowest: np.ndarray = self._score_floor
        if given is None:
            lowest = np.minimum(lowest, np.float32(self._set.thresholds.fallback_threshold))
        return lowest

    def _rescue(self, d: Detections, image: np.ndarray, found: Detections, given: tuple[int, ...] | None) -> Detections:
        """For each given class without a confident box, add its best box when queried separately, so that it does not
        compete with the other classes."""
        missing = [c for c in given or () if not (d.kept & d.confident & (d.classes == c)).any()]
        if not missing:
            return d
        if self.joint and len(given or ()) > 1:
            found = self._detect(image, missing, joint=False)
        found = found[~too_small(found, image.shape[:2], self._set.box)]
        return add_rescued(d, found, missing, self._set.thresholds.rescue_threshold, self._set.nms.iou_threshold)

    def _verify(
        self, d: Detections, image: np.ndarray, asked: tuple[int, ...], given: tuple[int, ...] | None
    ) -> Detections:
        """Set crop probabilities and combined scores; without given labels, also reject and relabel boxes."""
        s = self._set.verify
        if not s.enabled or (given is not None and len(given) == 1):
            return d
        k = len(self.class_set.names)
        sides = (d.boxes[:, 2:] - d.boxes[:, :2]).min(1)
        rows = np.flatnonzero(d.kept & (sides >= s.min_side))
        crop_probs = d.crop_probs.copy()
        if len(rows):
            probs = self._crop_probabilities(image, d.boxes[rows], given)
            if given is None:
                accepted, new = verify(
                    probs,
                    d.classes[rows],
                    d.scores[rows],
                    np.isin(np.arange(k), asked),
                    self._same_object(d, rows),
                    self._per_class["verify.accept_threshold"],
                    s,
                )
                classes = d.classes.copy()
                classes[rows] = new
                d = replace(d.with_reason(rows[~accepted], Reason.REJECTED), classes=classes)
            crop_probs[rows] = probs[np.arange(len(rows)), d.classes[rows]]
        weight = s.weight if given is None else s.weight_label_given
        combined = combined_score(d.scores, crop_probs, weight, s.trust_threshold)
        return replace(d, crop_probs=crop_probs, combined=combined)

    def _crop_probabilities(self, image: np.ndarray, boxes: np.ndarray, given: tuple[int, ...] | None) -> np.ndarray:
        """float32 (n, K), CLIP's probability of each class on the crop of each box; given labels leave only theirs."""
        s, k = self._set.verify, len(self.class_set.names)
        crops = crop_boxes(boxes, image.shape[:2], s.context, square=s.crop == "square")
        columns = np.arange(k) if given is None else np.array(given)
        text = np.concatenate([self._text[columns], self._text[k:]])
        probs = np.zeros((len(boxes), k), np.float32)
        features = to_numpy(self._clip.encode_views(image, crops))
        probs[:, columns] = probabilities(features, text, self._logit_scale)[:, : len(columns)]
        return probs

    def _same_object(self, d: Detections, rows: np.ndarray) -> np.ndarray:
        """bool (n, K), whether a kept box of each class overlaps each of ``rows`` as duplicates do."""
        near = (box_iou(d.boxes[rows], d.boxes) >= np.float32(self._set.nms.iou_threshold)) & d.kept
        same: np.ndarray = near @ (d.classes[:, None] == np.arange(len(self.class_set.names)))
        return same

    def _with_fallback(self, d: Detections) -> tuple[Detections, list[str]]:
        """Apply the fallback if no confident box was kept. Returns the detections and notes for the user."""
        if present_classes(d):
            return d, []
        d = keep_fallback(d, self._set.thresholds.fallback_threshold)
        rows = np.flatnonzero(d.kept)
        if not len(rows):
            return d, []
        name = self.class_set.names[d.classes[rows[0]]]
        return d, [f"no confident box left; kept the best one ({name}, {d.combined[rows[0]]:.2f})"]

    def _with_roles(self, d: Detections, given: tuple[int, ...] | None) -> Detections:
        key = "confident_threshold_label_free" if given is None else "confident_threshold"
        thresholds = self._per_class[f"ignore.{key}"], self._per_class["ignore.ambiguous_threshold"]
        return assign_roles(d, *thresholds, self._score_floor, given, assume_present=self._assume_present)

    # pixels

    def _empty(
        self, image: np.ndarray, label: int, asked: tuple[int, ...], evidence: dict[str, Any], note: str
    ) -> Seed:
        """A seed whose pixels all have one label."""
        shape = image.shape[:2]
        confidence = np.full(shape, 0 if label == IGNORE else 1, np.float32)
        return Seed(np.full(shape, label, np.uint8), confidence, (), dict.fromkeys(asked, 0.0), evidence, (note,))

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
        """Segment the confident and ambiguous boxes and fuse their masks."""
        shape = (image.shape[0], image.shape[1])
        order = d.order(d.combined)
        rows = order[d.role[order] != Role.DROPPED].tolist()
        masks = dict(zip(rows, self._segment(image, d[np.array(rows)]), strict=True)) if rows else {}
        fused = self._fuse(d, masks, shape, given)
        d = fused.detections
        missing = [self.class_set.names[c] for c in fused.missing]
        if missing:
            notes.append(f"no mask for {', '.join(missing)}: uncovered pixels are ignored")
        used = d.role != Role.DROPPED
        scores = {c: round(float(d.combined[used & (d.classes == c)].max(initial=0)), 6) for c in asked}
        evidence["detections"] = self._describe(d, masks)
        instances = tuple(Instance(m.cls, m.score, m.box, shape, (m.x, m.y), m.mask) for m in fused.painted)
        return Seed(fused.labels, fused.confidence, present, scores, evidence, tuple(notes), instances)

    def _fuse(
        self,
        d: Detections,
        masks: Mapping[int, BoxMask],
        shape: tuple[int, int],
        given: tuple[int, ...] | None,
        shared: np.ndarray | None = None,
    ) -> Fused:
        """Fuse the masks of the confident and ambiguous boxes.

        Args:
            d: the detections.
            masks: of each row that is not dropped.
            shape: height and width of the image.
            given: the given classes; None without given labels.
            shared: ``overlaps`` of the masks, if known.
        """
        s, rows = self._set, list(masks)
        scored = [_scored_mask(d, row, mask) for row, mask in masks.items()]
        shared = overlaps(scored) if shared is None else shared
        d = _without_invalid(d, masks)
        if s.fusion.order != "detector":
            ranked, confident = replace(d, combined=d.class_score), np.flatnonzero(d.role[rows] == Role.CONFIDENT)
            rivals = [_scored_mask(ranked, rows[k], masks[rows[k]]) for k in confident]
            duplicate = duplicate_masks(rivals, shared[np.ix_(confident, confident)], s.fusion.iou_threshold)
            twins = [rows[k] for k, twin in zip(confident, duplicate, strict=True) if twin]
            d = d.with_role(twins, Role.AMBIGUOUS).with_reason(twins, Reason.DUPLICATE_MASK)

        with_mask = {int(d.classes[row]) for row, mask in masks.items() if mask.valid}
        missing = tuple(c for c in given or () if c not in with_mask)
        confident, ambiguous = (np.flatnonzero(d.role[rows] == role) for role in (Role.CONFIDENT, Role.AMBIGUOUS))
        painted = [scored[k] for k in confident]
        labels, confidence = fuse(
            painted,
            [scored[k] for k in ambiguous],
            shared[np.ix_(confident, confident)],
            shape,
            s.fusion,
            replace(s.ignore, contest_margin=0.0) if s.mode == "boxes_given" else s.ignore,
            missing=bool(missing),
        )
        return Fused(d, painted, labels, confidence, missing)

    def _describe(self, d: Detections, masks: Mapping[int, BoxMask]) -> list[dict[str, Any]]:
        """The detections as JSON values, best first."""

        def rounded(value: float | None, digits: int = 6) -> float | None:
            return None if value is None or np.isnan(value) else round(float(value), digits)

        return [
            {
                "class": self.class_set.names[d.classes[i]],
                "box": [round(float(x), 2) for x in d.boxes[i]],
                "score": rounded(d.scores[i]),
                "crop_probability": rounded(d.crop_probs[i]),
                "combined_score": rounded(d.combined[i]),
                "role": Role(d.role[i] or Role.DROPPED).name.lower(),
                "reason": Reason(d.reason[i]).text,
                "predicted_iou": rounded(masks[i].iou) if i in masks else None,
            }
            for i in d.order(d.combined).tolist()
        ]


def _without_invalid(d: Detections, masks: Mapping[int, BoxMask]) -> Detections:
    """Make boxes without a valid mask ambiguous; their mask is the core of the box."""
    invalid = [row for row, mask in masks.items() if not mask.valid]
    return d.with_role(invalid, Role.AMBIGUOUS).with_reason(invalid, Reason.INVALID_MASK)


def _scored_mask(d: Detections, row: int, mask: BoxMask) -> ScoredMask:
    x0, y0, x1, y1 = d.boxes[row].tolist()
    return ScoredMask(
        int(d.classes[row]),
        float(d.combined[row]),
        (x0, y0, x1, y1),
        mask.x,
        mask.y,
        mask.mask,
        mask.probability,
        int(d.query[row]),
    )
