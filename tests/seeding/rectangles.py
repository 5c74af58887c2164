"""A world of flat rectangles, and a detector that finds them."""

import json
from dataclasses import replace

import numpy as np

from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.models.detector import Queries
from wsss_seed.types import LoadedSample

CLASSES = replace(load_class_set("red, green, blue"), background=("sky", "sea"), distractors=(), assume_present=True)
RED, GREEN, BLUE = range(3)
OPEN = {  # every class is a candidate and every box is accepted, whatever random weights say
    "clip.global_threshold": 0.0,
    "clip.logit_scale": 1.0,
    "verify.accept_threshold": 0.0,
    "verify.min_side": 4,
    "mask.min_box_coverage": 0.0,
    "mask.min_region_area": 4,
}


class ColourDetector:
    """Finds flat rectangles. The strongest channel names the class; its value / 255 is the score. In a joint caption
    classes compete: all but the brightest lose 0.2."""

    name = "colours"

    def __init__(self, order=1):
        self.order = order
        self.captions = []

    def detect(self, image, phrases, *, joint=True, score="span_mean_max"):
        self.captions.append([list(p) for p in phrases] if joint else [[list(p)] for p in phrases])
        boxes, class_scores = [], []
        for colour in np.unique(image.reshape(-1, 3), axis=0):
            if len(set(colour.tolist())) == 1:
                continue
            word = ("red", "green", "blue")[colour.argmax()]
            y, x = np.nonzero((image == colour).all(2))
            boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
            class_scores.append([colour.max() / 255 * (word in p) for p in phrases])
        table = np.array(class_scores, np.float32).reshape(-1, len(phrases))
        if joint and len(phrases) > 1 and len(table):
            table = np.where(table == table.max(), table, np.maximum(table - 0.2, 0))
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return Queries(boxes[:: self.order], table.max(1)[:: self.order], table[:: self.order])


def picture(*rectangles, shape=(80, 100)):
    """Rectangles (class, score, x0, y0, x1, y1) on grey."""
    image = np.full((*shape, 3), 40, np.uint8)
    for cls, score, x0, y0, x1, y1 in rectangles:
        image[y0:y1, x0:x1] = 0
        image[y0:y1, x0:x1, cls] = round(score * 255)
    return image


def loaded(image, labels=None, boxes=None, name="a"):
    return LoadedSample(Sample(name, labels=labels), image, boxes)


MANY = picture(
    (RED, 0.9, 0, 0, 60, 60),
    (RED, 0.5, 30, 0, 90, 50),
    (GREEN, 0.85, 20, 20, 50, 50),
    (BLUE, 0.6, 55, 30, 98, 78),
    (GREEN, 0.3, 2, 62, 40, 79),
)
TWO = picture((RED, 0.9, 5, 5, 45, 40), (GREEN, 0.8, 50, 30, 95, 75))


def found(seed):
    return [(d["class"], d["role"], d["reason"]) for d in seed.evidence["detections"]]


def check(seed, shape, k=3):
    assert seed.labels.shape == seed.confidence.shape == shape
    assert seed.labels.dtype == np.uint8
    assert seed.confidence.dtype == np.float32
    assert set(np.unique(seed.labels)) <= {*range(k + 1), 255}
    assert ((seed.confidence >= 0) & (seed.confidence <= 1)).all()
    assert (seed.confidence[seed.labels == 255] == 0).all()
    json.dumps({"evidence": seed.evidence, "notes": seed.notes, "present": seed.present, "scores": dict(seed.scores)})
