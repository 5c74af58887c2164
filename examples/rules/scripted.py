"""Scripted models: CLIP, detector and SAM whose answers are made from ground truth and stated error rates.

They stand in for the published models where these cannot be run, to compare the rules of dino-sam on real scenes. All
rates are assumptions, stated in ``Rates``; every answer is a function of the seed, the image and the question, so that
all rules get the same answers to the same questions.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch

from wsss_seed.data.classes import IGNORE, ClassSet
from wsss_seed.models.detector import Queries
from wsss_seed.models.masks import BoxMasks
from wsss_seed.seeding.detection.classification import view_boxes
from wsss_seed.seeding.detection.detections import box_iou
from wsss_seed.seeding.detection.settings import TEMPLATES

LOGIT_SCALE = 100.0
SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels up to which COCO's evaluation counts an object as small or medium."""


@dataclass(frozen=True)
class Rates:
    """Error rates of the scripted models; ``scaled`` multiplies all of them.

    Attributes:
        missed: share of the small, medium and large objects (COCO's sizes) that the detector misses.
        misplaced: share of the boxes of missed objects, which score 0.05 to 0.22, that lie elsewhere.
        score: mean detector score of the small, medium and large objects that it finds.
        score_spread: standard deviation of these scores.
        box_jitter: standard deviation of the sides of a box as a share of its width or height.
        confused: share of the objects that also get a box of a class of the same kind (sofa, chair), scored lower.
        grouped: share of the classes with several objects that also get a box around all of them.
        false_boxes: boxes per queried class that is absent, and per class that is present; they score 0.2 to 0.45.
        lookalikes: share of the false boxes that CLIP takes for the class too, as it may a coffee table for a dining
            table.
        false_classes: classes per image that CLIP sees although they are absent.
        overlooked: share of the present classes that CLIP does not see in any view, by area of their largest object.
        crop_noise: standard deviation of CLIP's logits on a crop.
        boundary: amplitude of the errors of SAM's boundaries, as a share of the square root of the object's area.
        spilled: share of the objects whose mask takes in everything else in the box.
    """

    missed: tuple[float, float, float] = (0.50, 0.22, 0.06)
    misplaced: float = 0.4
    score: tuple[float, float, float] = (0.33, 0.45, 0.60)
    score_spread: float = 0.12
    box_jitter: float = 0.03
    confused: float = 0.15
    grouped: float = 0.20
    false_boxes: tuple[float, float] = (0.03, 0.10)
    lookalikes: float = 0.40
    false_classes: float = 0.10
    overlooked: tuple[float, float, float] = (0.65, 0.45, 0.12)
    crop_noise: float = 1.0
    boundary: float = 0.03
    spilled: float = 0.04

    def scaled(self, factor: float) -> Rates:
        """The rates with ``factor`` times as many errors; scores fall accordingly."""

        def shares(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(min(0.95, factor * v) for v in values)

        return replace(
            self,
            missed=shares(self.missed),
            misplaced=min(0.95, factor * self.misplaced),
            score=tuple(1 - (1 - s) * (0.75 + 0.25 * factor) for s in self.score),
            box_jitter=factor * self.box_jitter,
            confused=min(0.95, factor * self.confused),
            grouped=min(0.95, factor * self.grouped),
            false_boxes=tuple(factor * v for v in self.false_boxes),
            false_classes=factor * self.false_classes,
            overlooked=shares(self.overlooked),
            crop_noise=factor * self.crop_noise,
            boundary=factor * self.boundary,
            spilled=min(0.95, factor * self.spilled),
        )


KINDS = (
    ("bicycle", "motorbike", "motorcycle"),
    ("bus", "car", "train", "truck"),
    ("cat", "dog"),
    ("horse", "cow", "sheep"),
    ("chair", "sofa", "couch", "bench"),
    ("diningtable", "dining table", "bench"),
    ("bottle", "vase", "cup", "wine glass"),
    ("tvmonitor", "tv", "laptop"),
    ("aeroplane", "airplane", "bird", "kite"),
    ("apple", "orange"),
    ("fork", "knife", "spoon"),
    ("backpack", "handbag", "suitcase"),
)
"""Classes that detectors confuse."""


@dataclass(frozen=True, eq=False)
class Object:
    """A connected region of a class: its class, mask bool (H, W) and box x0 y0 x1 y1."""

    cls: int
    mask: np.ndarray
    box: np.ndarray

    @property
    def area(self) -> int:
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class Scene:
    """An image as its ground truth shows it.

    Attributes:
        name: id of the image.
        labels: uint8 (H, W) with the ignore label 255.
        image: uint8 (H, W, 3), of which only the size matters.
        objects: its objects.
        seen: the classes that CLIP sees in it, where they are known from published outputs; else None.
    """

    name: str
    labels: np.ndarray
    seen: frozenset[int] | None = None
    image: np.ndarray = field(init=False)
    objects: tuple[Object, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", np.zeros((*self.labels.shape, 3), np.uint8))
        object.__setattr__(self, "objects", tuple(_objects(self.labels)))

    @property
    def present(self) -> tuple[int, ...]:
        return tuple(sorted({o.cls for o in self.objects}))


def _objects(labels: np.ndarray, least: int = 64) -> list[Object]:
    found = []
    for value in np.unique(labels):
        if value in (0, IGNORE):
            continue
        _, regions, stats, _ = cv2.connectedComponentsWithStats((labels == value).astype(np.uint8))
        largest = stats[1:, cv2.CC_STAT_AREA].max()
        for i, (x, y, w, h, area) in enumerate(stats[1:], 1):
            if area >= min(least, largest):
                box = np.array([x, y, x + w, y + h], np.float32)
                found.append(Object(int(value) - 1, regions == i, box))
    return found


class World:
    """The scripted models for some scenes, as the seeder expects them: CLIP, detector and SAM in one.

    Args:
        class_set: the classes.
        scenes: the images.
        rates: error rates.
        seed: of all random numbers.
    """

    name = "scripted"
    logit_scale = LOGIT_SCALE
    device = torch.device("cpu")

    def __init__(self, class_set: ClassSet, scenes: Sequence[Scene], rates: Rates, seed: int):
        self._rates, self._seed = rates, seed
        self._k = len(class_set.names)
        self._scenes = {id(s.image): s for s in scenes}
        self._class_of = {p.casefold(): c for c, phrases in enumerate(class_set.phrases) for p in phrases}
        kinds = [[class_set.find(n) for n in kind] for kind in KINDS]
        self._same_kind = {
            c: [o for kind in kinds if c in kind for o in kind if o is not None and o != c] for c in range(self._k)
        }
        self._words: dict[str, int] = {}
        self._found: dict[tuple[str, int], list[tuple[np.ndarray, float]]] = {}
        self._masks: list[np.ndarray] = []  # those of the image that was embedded last

    def _random(self, scene: Scene, *what: object) -> np.random.Generator:
        """Numbers that depend on nothing but the seed, the image and ``what`` they are for."""
        return np.random.default_rng(zlib.crc32(repr((self._seed, scene.name, *what)).encode()))

    # CLIP

    def encode_text(self, sentences: Sequence[str]) -> np.ndarray:
        """A dimension per class, and one per other phrase."""
        columns = []
        for sentence in sentences:
            phrase = next(
                sentence[len(head) : len(sentence) - len(tail)]
                for head, tail in (template.split("{}") for template in TEMPLATES)
                if sentence.startswith(head) and sentence.endswith(tail)
            ).casefold()
            known = self._class_of.get(phrase)
            columns.append(self._k + self._words.setdefault(phrase, len(self._words)) if known is None else known)
        features = np.zeros((len(columns), 1024), np.float32)
        features[np.arange(len(columns)), columns] = 1
        return features

    def encode_views(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Features whose scaled products with the texts are the logits of the views or crops."""
        scene = self._scenes[id(image)]
        views = view_boxes(*scene.labels.shape)
        is_views = boxes.shape == views.shape and np.allclose(boxes, views)
        logits = np.stack([self._view(scene, b) if is_views else self._crop(scene, b) for b in boxes])
        features = logits / LOGIT_SCALE
        rest = 1 - (features**2).sum(1, keepdims=True)  # a last dimension, in which all texts are 0, gives unit length
        return np.concatenate([features, np.sqrt(rest)], 1).astype(np.float32)

    def _seen(self, scene: Scene) -> frozenset[int]:
        """The classes that CLIP sees in an image."""
        if scene.seen is not None:
            return scene.seen
        rng, seen = self._random(scene, "seen"), set()
        for c in range(self._k):
            draw, own = rng.random(), [o.area for o in scene.objects if o.cls == c]
            if own:
                seen.update({c} if draw >= self._rates.overlooked[_size(max(own))] else ())
            elif draw < self._rates.false_classes / self._k:
                seen.add(c)
        return frozenset(seen)

    def _view(self, scene: Scene, box: np.ndarray) -> np.ndarray:
        """Logits of a view: high for the classes that CLIP sees in the image and that this view shows."""
        logits = self._random(scene, "view", box.tolist()).normal(0, 0.5, 1023)
        shares = self._shares(scene, box)
        for c in self._seen(scene):
            absent = c not in scene.present
            if shares[c] > 0 or absent:
                logits[c] = 6.0 + 2 * np.sqrt(shares[c]) - absent
        logits[self._k : self._k + 5] += 3  # background phrases that fit the scene
        return logits

    def _crop(self, scene: Scene, box: np.ndarray) -> np.ndarray:
        """Logits of a crop, which grow with the share of the crop that a class covers: the crop of a rider shows the
        motorcycle, that of a bottle the table, and CLIP names what is largest. Factors chosen so that a class with 0.25
        beside another with 0.45 gets about 1:15 of its probability."""
        rng = self._random(scene, "crop", np.round(box).tolist())
        logits = rng.normal(0, self._rates.crop_noise, 1023)
        sharpness = 13.5 * min(1, min(box[2] - box[0], box[3] - box[1]) / 48)
        shares = self._shares(scene, box)
        for c, region in self._lookalikes(scene):
            inside = box_iou(box[None], region[None])[0, 0]
            shares[c] = max(shares[c], 0.6 * inside)
        logits[: self._k] += sharpness * shares
        logits[self._k : self._k + 5] += 0.3 * 13.5 * (1 - shares.sum().clip(0, 1))
        return logits

    def _shares(self, scene: Scene, box: np.ndarray) -> np.ndarray:
        """(K,) share of a box that each class covers."""
        x0, y0, x1, y1 = np.round(box).astype(int)
        part = scene.labels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        return np.bincount(part.reshape(-1), minlength=256)[1 : self._k + 1] / max(1, part.size)

    # detector

    def detect(
        self, image: np.ndarray, phrases: Sequence[Sequence[str]], *, joint: bool = True, score: str = ""
    ) -> Queries:
        """The boxes of all queried classes; distractors have none."""
        scene = self._scenes[id(image)]
        boxes: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        asked = [self._class_of.get(group[0].casefold()) for group in phrases]
        for column, c in enumerate(asked):
            if c is None:
                continue
            for box, value in self._boxes(scene, c):
                if not joint and value < 0.3:  # a class by itself competes with none
                    value += 0.03
                boxes.append(box)
                rows.append(np.eye(len(phrases), dtype=np.float32)[column] * value)
        table = np.array(rows, np.float32).reshape(-1, len(phrases))
        return Queries(np.array(boxes, np.float32).reshape(-1, 4), table.max(1, initial=0), table)

    def _boxes(self, scene: Scene, c: int) -> list[tuple[np.ndarray, float]]:
        key = scene.name, c
        if key not in self._found:
            self._found[key] = [*self._true_boxes(scene, c), *self._false_boxes(scene, c)]
        return self._found[key]

    def _true_boxes(self, scene: Scene, c: int) -> list[tuple[np.ndarray, float]]:
        """Boxes of the objects of a class, of objects that are confused with it, and of groups."""
        r, found = self._rates, []
        height, width = scene.labels.shape
        own = [o for o in scene.objects if o.cls == c]
        for i, o in enumerate(scene.objects):
            rng, confused = self._random(scene, "object", i, c), c in self._same_kind[o.cls]
            if o.cls != c and not (confused and rng.random() < r.confused):
                continue
            size = _size(o.area)
            value = rng.normal(r.score[size], r.score_spread) - 0.1 * (o.cls != c)
            if rng.random() < r.missed[size]:
                value = rng.uniform(0.05, 0.22)  # hardly seen: for the rescue
            side = np.tile(o.box[2:] - o.box[:2], 2)
            box = o.box + rng.normal(0, r.box_jitter, 4) * side
            if value < 0.22 and rng.random() < r.misplaced:
                box = _random_box(rng, height, width)
            found.append((np.clip(box, 0, [width, height] * 2), float(np.clip(value, 0.05, 0.97))))
        rng = self._random(scene, "group", c)
        if len(own) > 1 and rng.random() < r.grouped:
            box = np.concatenate([np.min([o.box[:2] for o in own], 0), np.max([o.box[2:] for o in own], 0)])
            found.append((box, float(rng.uniform(0.25, 0.5))))
        return found

    def _false_boxes(self, scene: Scene, c: int) -> list[tuple[np.ndarray, float]]:
        """Boxes around nothing of this class."""
        height, width = scene.labels.shape
        rng, found = self._random(scene, "false", c), []
        for _ in range(rng.poisson(self._rates.false_boxes[c in scene.present])):
            found.append((_random_box(rng, height, width), float(rng.uniform(0.2, 0.45))))
        return found

    def _lookalikes(self, scene: Scene) -> list[tuple[int, np.ndarray]]:
        """The false boxes that CLIP takes for their class too."""
        return [
            (c, box)
            for c in range(self._k)
            for i, (box, _) in enumerate(self._false_boxes(scene, c))
            if self._random(scene, "lookalike", c, i).random() < self._rates.lookalikes
        ]

    # SAM

    def embed(self, image: np.ndarray) -> Scene:
        self._masks = []
        return self._scenes[id(image)]

    def decode_boxes(
        self, embedding: Scene, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks:
        """The same mask in each output; its number stands in for the logits on SAM's grid."""
        numbers, ious = [], []
        for box in boxes:
            mask, iou = self._mask(embedding, box)
            numbers.append(len(self._masks))
            ious.append(iou)
            self._masks.append(mask)
        outputs = 3 if multimask else 1
        low_res = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, outputs, 1, 1)
        return BoxMasks(low_res, torch.tensor(ious, dtype=torch.float32).view(-1, 1).expand(-1, outputs))

    def logits(self, embedding: Scene, low_res: torch.Tensor) -> torch.Tensor:
        chosen = [self._masks[int(i)] for i in low_res[:, 0, 0]]
        return torch.from_numpy(np.stack(chosen)) if chosen else torch.zeros(0, *embedding.labels.shape)

    def _mask(self, scene: Scene, box: np.ndarray) -> tuple[np.ndarray, float]:
        """Logits (H, W) of the object that fits a box best, with an error of its boundary; of the box's ellipse where
        there is none."""
        rng = self._random(scene, "mask", np.round(box).tolist())
        height, width = scene.labels.shape
        overlap = box_iou(box[None], np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4))[0]
        if len(overlap) and overlap.max() >= 0.4:
            mask = scene.objects[int(overlap.argmax())].mask
            if rng.random() < self._rates.spilled:
                mask = mask | _inside(scene.labels > 0, box)
            iou = rng.normal(0.9, 0.05)
        else:
            y, x = np.mgrid[:height, :width] + 0.5
            centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
            mask = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 <= 1
            iou = rng.normal(0.75, 0.1)
        whole = mask.astype(np.uint8)
        distance = cv2.distanceTransform(whole, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - whole, cv2.DIST_L2, 5)
        amplitude = self._rates.boundary * np.sqrt(max(1, mask.sum()))
        noise = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        return (distance + amplitude * noise).astype(np.float32), float(np.clip(iou, 0, 1))


def _random_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    w, h = rng.uniform(0.1, 0.7) * width, rng.uniform(0.1, 0.7) * height
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return np.array([x, y, x + w, y + h], np.float32)


def _inside(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    part = np.zeros_like(mask)
    x0, y0, x1, y1 = np.round(box).astype(int)
    part[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return part


def _size(area: int) -> int:
    return int(area > SMALL) + int(area > MEDIUM)
