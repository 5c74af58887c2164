"""How long the models of a set take for one image on this machine, measured before a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..data.classes import load_class_set
from ..data.toyland.scene import draw
from ..models.sam3 import Sam3
from ..models.untrained import needs_random, untrained, without_download
from ..models.zoo import ModelSet
from ..seeding.detection.classification import view_boxes

OBJECTS = 5
"""Number of boxes that CLIP verifies and SAM segments, as in a typical photograph."""

CLASS_SET = "voc"
"""The class set whose phrases are detected."""

_LONG = 3.0  # seconds from which a run is not repeated
_SIZE = (500, 375)  # width and height of most images of VOC


class ModelTime(NamedTuple):
    """The time of a model.

    Attributes:
        role: ``clip``, ``sam`` or ``detector``.
        name: its name.
        seconds: per image.
        untrained: whether it was measured with random weights, because its own have not been downloaded.
    """

    role: str
    name: str
    seconds: float
    untrained: bool


def time_models(models: ModelSet) -> list[ModelTime]:
    """Measure the models of a set on a drawn image of 500 x 375 pixels, one after the other.

    Each model computes what dino-sam, or sam3 for a set with SAM 3, needs without image-level labels: CLIP encodes the
    views of the image and the crops of five boxes; the detector is asked for VOC's classes, and again for those that
    are present; SAM encodes the image and segments five boxes; SAM 3 is asked for each phrase.

    Models whose weights have not been downloaded are measured with random weights, since time does not depend on their
    values. Nothing is downloaded for models whose architecture is known.

    Raises:
        WsssError: a model that cannot be loaded.
    """
    found = []
    models = without_download(models)
    for role in models.names:
        bare = needs_random(models, role)
        model = (
            untrained(role, models.names[role], models.device, models.precision_of(role))
            if bare
            else _load(models, role)
        )
        seconds = _seconds(partial(_work, role, model), models.device)
        found.append(ModelTime(role, models.names[role], seconds, bare))
        del model
    return found


def _load(models: ModelSet, role: str) -> Any:
    return models.sam3 if role == "sam" and models.backend == "sam3" else getattr(models, role)


def _work(role: str, model: Any, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    boxes = np.array([[0.1 * i, 0.2, 0.1 * i + 0.4, 0.8] for i in range(OBJECTS)]) * [width, height, width, height]
    phrases = load_class_set(CLASS_SET).phrases
    if role == "clip":
        model.encode_views(image, view_boxes(height, width))
        model.encode_views(image, boxes)
    elif role == "detector":
        model.detect(image, phrases)
        model.detect(image, phrases[:OBJECTS])
    elif isinstance(model, Sam3):
        embedding = model.embed(image)
        for phrase in (phrase for group in phrases for phrase in group):
            model.ask(embedding, phrase, least=1.0)
    else:
        embedding = model.embed(image)
        model.logits(embedding, model.decode_boxes(embedding, boxes).low_res)


def elapsed(run: Callable[[], object], device: torch.device) -> float:
    """Wall time in seconds, until the device is done."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _seconds(work: Callable[[np.ndarray], None], device: str) -> float:
    """Seconds per image: the least of four runs, or the first one if it takes long. The first may include compiling."""

    def run() -> float:
        image = np.array(Image.fromarray(draw(0).image).resize(_SIZE))  # a new array, as detectors cache the last one
        return elapsed(lambda: work(image), torch.device(device))

    first = run()
    return first if first > _LONG else min(first, *(run() for _ in range(3)))
