"""A check that the models of a set answer far above chance, so that garbled weights or a wrong preprocessing are found.

The images are toyland's, of five classes whose drawings published models know as well as the miniatures. This is our
own: it measures whether the models work, not how good they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data.toyland.scene import Scene, draw
from ..data.toyland.shapes import CLASSES
from ..models.zoo import ModelSet
from ..seeding.detection.classification import text_features, to_numpy
from ..seeding.detection.crop_verification import crop_boxes
from ..seeding.detection.detections import box_iou
from ..seeding.detection.settings import ClipSettings

NAMES = ("umbrella", "house", "fish", "tree", "car")
"""The classes of the check."""

SKILL = 0.5
"""Least share of the way from chance to perfect answers. Garbled models are near 0, the miniatures at 0.8 to 1."""

_CONTEXT = 0.10  # around the box of a crop
_HIT = 0.5  # IoU of a box that is found


class Check(NamedTuple):
    """One figure of a model.

    Attributes:
        role: ``clip``, ``sam`` or ``detector``.
        name: name of the model.
        measure: what was measured.
        value: the figure, 0 to 1.
        chance: what a model that knows nothing would reach.
        size: number of crops, classes or masks on which it was measured.
    """

    role: str
    name: str
    measure: str
    value: float
    chance: float
    size: int

    @property
    def skill(self) -> float:
        """0 at chance, 1 for perfect answers."""
        return (self.value - self.chance) / (1 - self.chance)

    @property
    def passed(self) -> bool:
        """Whether the figure is far above chance."""
        return self.skill >= SKILL


class _Objects(NamedTuple):
    """The objects of the five classes in an image: ``classes`` int64 (n,) in the order of ``NAMES``, ``boxes`` float32
    (n, 4), ``masks`` bool (n, H, W)."""

    image: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray

    def of(self, rows: list[int]) -> _Objects:
        """Some of the objects, in this order."""
        return _Objects(self.image, self.classes[rows], self.boxes[rows], self.masks[rows])


def check_models(models: ModelSet, images: int = 24) -> list[Check]:
    """Check the models of a set on drawn images.

    - CLIP: share of the objects whose crop it classifies correctly among the five classes; chance is 1/5.
    - Detector, or SAM 3: for each class of an image, whether its box with the highest score has an IoU of at least 0.5
      with an object of that class; chance is the same share with the boxes of the other images.
    - SAM: mean IoU of the masks of the true boxes, for SAM 3 of the masks of the boxes it found; chance is the IoU of
      the filled boxes.

    A model that fails has garbled weights, or its images or texts are preprocessed wrongly. Not every wrong
    preprocessing is found: with red and blue swapped, the miniatures still pass, since shapes matter more to them.

    Args:
        models: the model set; its models are loaded.
        images: number of images to draw.

    Raises:
        WsssError: a model that cannot be loaded.
    """
    scenes = [found for found in (_objects(draw(i, "val")) for i in range(images)) if len(found.classes)]
    checks = [_check_clip(models, scenes)]
    if models.backend == "sam3":
        return [*checks, *_check_sam3(models, scenes)]
    if "detector" in models.names:
        checks.append(_check_detector(models, scenes))
    return [*checks, _check_sam(models, scenes)]


def fault(check: Check) -> str:
    """The sentence about a check that failed."""
    return (
        f"{check.role} '{check.name}' does not work: {check.measure} is {check.value:.2f}, where chance is "
        f"{check.chance:.2f}; its weights are garbled or not those of this architecture, or its input is preprocessed "
        "wrongly (wsss-seed models verify compares downloaded checkpoints with the published ones)"
    )


def _objects(scene: Scene) -> _Objects:
    rows = [i for i, o in enumerate(scene.objects) if CLASSES[o.index] in NAMES]
    classes = np.array([NAMES.index(CLASSES[scene.objects[i].index]) for i in rows], np.int64)
    masks = np.stack([scene.instances == i + 1 for i in rows]) if rows else np.zeros((0, *scene.labels.shape), bool)
    return _Objects(scene.image, classes, scene.boxes[rows].astype(np.float32), masks)


def _check_clip(models: ModelSet, scenes: Sequence[_Objects]) -> Check:
    text = text_features(models.clip, [(name,) for name in NAMES], ClipSettings().templates)
    right = []
    for scene in scenes:
        crops = crop_boxes(scene.boxes, scene.image.shape[:2], _CONTEXT, square=True)
        similarities = np.nan_to_num(to_numpy(models.clip.encode_views(scene.image, crops)) @ text.T)
        right += (similarities.argmax(1) == scene.classes).tolist()
    share = float(np.mean(right))
    return Check("clip", models.names["clip"], "share of crops classified correctly", share, 1 / len(NAMES), len(right))


def _check_detector(models: ModelSet, scenes: Sequence[_Objects]) -> Check:
    best = []
    for scene in scenes:
        found = models.detector.detect(scene.image, [(name,) for name in NAMES])
        best.append(found.boxes[np.nan_to_num(found.class_scores).argmax(0)])
    return _box_check("detector", models.names["detector"], best, scenes)


def _check_sam(models: ModelSet, scenes: Sequence[_Objects]) -> Check:
    masks = []
    for scene in scenes:
        embedding = models.sam.embed(scene.image)
        low_res = models.sam.decode_boxes(embedding, scene.boxes).low_res
        masks.append(to_numpy(models.sam.logits(embedding, low_res)[:, 0]) > 0)
    return _mask_check(models.names["sam"], masks, scenes)


def _check_sam3(models: ModelSet, scenes: Sequence[_Objects]) -> list[Check]:
    """SAM 3 finds the objects by their phrases; masks are compared where a box is a hit."""
    best, masks, hits = [], [], []
    for scene in scenes:
        embedding = models.sam3.embed(scene.image)
        boxes = np.zeros((len(NAMES), 4), np.float32)
        own_masks, own_hits = [], []
        for c, name in enumerate(NAMES):
            found = models.sam3.ask(embedding, name)
            top = int(np.nan_to_num(found.scores).argmax())
            boxes[c] = found.boxes[top]
            overlaps = np.where(scene.classes == c, box_iou(boxes[c : c + 1], scene.boxes)[0], 0)
            if overlaps.max() >= _HIT:
                own_hits.append(int(overlaps.argmax()))
                own_masks.append(to_numpy(next(iter(models.sam3.logits(embedding, found.low_res[top : top + 1])))) > 0)
        best.append(boxes)
        masks.append(np.array(own_masks))
        hits.append(scene.of(own_hits))
    found_boxes = _box_check("sam", models.names["sam"], best, scenes)
    return [found_boxes, *([_mask_check(models.names["sam"], masks, hits)] if any(map(len, masks)) else [])]


def _box_check(role: str, name: str, best: Sequence[np.ndarray], scenes: Sequence[_Objects]) -> Check:
    """The share of classes that are found, with the ``best`` box (5, 4) of each class in each image."""
    own: list[bool] = []
    others: list[bool] = []
    for i, scene in enumerate(scenes):
        for c in np.unique(scene.classes):
            truth = scene.boxes[scene.classes == c]
            for j, boxes in enumerate(best):
                hit = bool(box_iou(boxes[c : c + 1] * _rescaled(scenes[j], scene), truth).max() >= _HIT)
                (own if i == j else others).append(hit)
    return Check(
        role, name, "share of classes whose best box is right", float(np.mean(own)), float(np.mean(others)), len(own)
    )


def _rescaled(source: _Objects, target: _Objects) -> np.ndarray:
    """Factors that bring a box from one image to the size of another, float32 (4,)."""
    (h, w), (height, width) = source.image.shape[:2], target.image.shape[:2]
    return np.array([width / w, height / h] * 2, np.float32)


def _mask_check(name: str, masks: Sequence[np.ndarray], scenes: Sequence[_Objects]) -> Check:
    """The mean IoU of masks (n, H, W) with those of the objects of each image."""
    own, filled = [], []
    for scene, found in zip(scenes, masks, strict=True):
        for mask, truth, (x0, y0, x1, y1) in zip(found, scene.masks, scene.boxes.round().astype(int), strict=True):
            box = np.zeros_like(truth)
            box[y0:y1, x0:x1] = True
            own.append(_iou(mask, truth))
            filled.append(_iou(box, truth))
    return Check("sam", name, "mean IoU of masks", float(np.mean(own)), float(np.mean(filled)), len(own))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
