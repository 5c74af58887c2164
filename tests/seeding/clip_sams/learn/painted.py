"""Images of one coloured rectangle each, their label maps, and small settings to learn prompts from them."""

import numpy as np

from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.errors import ImageError
from wsss_seed.seeding.clip_sams.learn.crops import PromptTrainingData
from wsss_seed.seeding.clip_sams.learn.settings import LearnSettings

COLOURS = np.array([[90, 90, 90], [220, 30, 30], [30, 200, 30], [30, 30, 220]], np.uint8)
SMALL = {
    "context.n_ctx": 4,
    "augment.crop_size": 32,
    "augment.longest_edge_range": [40, 56],
    "train.batch_size": 4,
    "train.warmup_iters": 2,
    "train.max_iters": 8,
    "train.lr": 0.5,
}


def dice(n=0):
    return np.random.default_rng(n)


def paint(i, shape=(44, 60)):
    """A label map with one class, and the image that shows its colour."""
    labels = np.zeros(shape, np.uint8)
    y, x = dice(i).integers(0, 20, 2)
    labels[y : y + 20, x : x + 24] = 1 + i % 3
    return labels, COLOURS[labels]


def source(n=6, seeds=False, broken=()):
    def image(sample):
        if int(sample.id) in broken:
            raise ImageError(f"{sample.id}: damaged image; copy it again")
        return paint(int(sample.id))[1]

    samples = [Sample(str(i), labels=(i % 3,)) for i in range(n)]
    return PromptTrainingData(samples, image, (lambda s: paint(int(s.id))[0]) if seeds else None, 3)


def settings(**values):
    return override(LearnSettings(), {**SMALL, **{k.replace("__", "."): v for k, v in values.items()}})
