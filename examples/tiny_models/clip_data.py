"""Training data of the miniature CLIP: views of toyland scenes with captions of their visible objects.

A view is a box of a scene, resized to a square. There are three kinds: whole scenes and windows, captioned with all
clearly visible classes; crops around one object, in place of photographs of one object; and windows without objects,
captioned with the place alone. Boxes and instance maps are used only to crop and to determine visibility; the model is
not trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from make_bpe import PLURALS, WORDS
from PIL import Image
from world import NONE

from wsss_seed.data.toyland import CLASSES, PLACES
from wsss_seed.seeding.detection.settings import TEMPLATES  # prompts for real CLIP weights are written the same way

CONCEPTS = (*CLASSES, *PLACES)  # what a caption's phrases name
K = len(CLASSES)
PRESENT, ABSENT, UNKNOWN = 1, 0, -1

CAPTIONS = ("a photo of a {}", "a picture of a {}", "a drawing of a {}", "an image of a {}")
OTHERS = ("{}", "{}.", "the {}", "a {}", "a clean origami {}.", "a photo of {}", "a photo of the {}.")
PLURAL = ("a photo of many {}.", "a photo of {}", "{}", "a picture of two {}", "there are {} in the scene.")

_FILLERS = tuple(w for w in WORDS if w not in {*CONCEPTS, *PLURALS.values()})
_CLEAR = 0.35  # share of an object's visible pixels inside a view from which the caption names it
_FAINT = 0.05  # below it the object counts as absent; in between, the class counts neither way


def sentence(rng: np.random.Generator, concept: str) -> str:
    """A random wording of one phrase of a caption."""
    if rng.random() < 0.2:  # random words around the name, in place of learned context vectors
        words = " ".join(rng.choice(_FILLERS, rng.integers(4, 17)))
        return f"{words} {concept}." if rng.random() < 0.7 else f"{concept} {words}."
    if concept in PLURALS and rng.random() < 0.1:
        return str(rng.choice(PLURAL)).format(PLURALS[concept])
    text = str(rng.choice((TEMPLATES, CAPTIONS, OTHERS)[rng.choice(3, p=(0.4, 0.4, 0.2))])).format(concept)
    return text.replace(" a u", " an u") if rng.random() < 0.5 else text


@dataclass
class Views:
    """Draws views from the arrays of ``world.arrays``."""

    data: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.data["images"])

    def scene(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The unpadded image (h, w, 3) and instance map (h, w)."""
        h, w = map(int, self.data["sizes"][i])
        return self.data["images"][i, :h, :w], self.data["instances"][i, :h, :w]

    def whole(self, i: int) -> np.ndarray:
        h, w = self.data["sizes"][i]
        return np.array([0, 0, w, h], float)

    def window(self, rng: np.random.Generator, i: int) -> np.ndarray:
        """A window with sides from 0.3 to all of the scene's."""
        h, w = map(int, self.data["sizes"][i])
        part = np.clip(rng.uniform(0.3, 1.05) * np.exp(rng.normal(0, 0.12, 2)), 0.25, 1)
        x, y = rng.random(2) * (1 - part) * (w, h)
        return np.array([x, y, x + part[0] * w, y + part[1] * h])

    def empty(self, rng: np.random.Generator, i: int) -> np.ndarray | None:
        """A window that shows no pixel of any object, or None when eight tries find none."""
        h, w = map(int, self.data["sizes"][i])
        instances = self.data["instances"][i]
        for _ in range(8):
            part = np.minimum(rng.uniform(0.18, 0.5) * np.exp(rng.normal(0, 0.2, 2)), 1)
            x, y = rng.random(2) * (1 - part) * (w, h)
            box = np.array([x, y, x + part[0] * w, y + part[1] * h])
            x0, y0, x1, y1 = np.round(box).astype(int)
            if not instances[y0:y1, x0:x1].any():
                return box
        return None

    def crop(self, i: int, j: int, factor: float, shift: Sequence[float] = (0, 0)) -> np.ndarray:
        """A square around object ``j``, ``factor`` times its longer side, as square as the scene allows."""
        h, w = map(int, self.data["sizes"][i])
        x0, y0, x1, y1 = self.data["boxes"][i, j].astype(float)
        side = factor * max(x1 - x0, y1 - y0, 12)
        half = np.minimum(side, (w, h)) / 2
        centre = np.array([x0 + x1, y0 + y1]) / 2 + np.array(shift) * side
        centre = np.clip(centre, half, np.array([w, h]) - half)
        return np.concatenate([centre - half, centre + half]).clip(0, (w, h) * 2)  # rounding may leave the scene

    def objects(self, i: int) -> np.ndarray:
        """Positions of the objects of a scene."""
        return np.flatnonzero(self.data["classes"][i] != NONE)

    def visible(self, i: int, box: np.ndarray) -> np.ndarray:
        """int8 (12,): PRESENT, ABSENT or UNKNOWN for each class in a view."""
        x0, y0, x1, y1 = np.round(box).astype(int)
        instances = self.data["instances"][i]
        inside = np.bincount(instances[y0:y1, x0:x1].ravel(), minlength=5)[1:]
        share = inside / np.maximum(np.bincount(instances.ravel(), minlength=5)[1:], 1)
        filled = inside / max((x1 - x0) * (y1 - y0), 1)  # an object may fill a window that holds little of it
        out = np.zeros(K, np.int8)
        for j in self.objects(i):
            c = self.data["classes"][i, j]
            if share[j] >= _CLEAR:
                out[c] = PRESENT
            elif out[c] != PRESENT and (share[j] >= _FAINT or filled[j] > 0.02):
                out[c] = UNKNOWN
        return out

    def pixels(self, i: int, box: np.ndarray, size: int) -> np.ndarray:
        """The view stretched to uint8 (size, size, 3), bicubic as at inference."""
        image = Image.fromarray(self.scene(i)[0])
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=tuple(box)))

    def draw(
        self, rng: np.random.Generator, n: int, size: int, crops: float, empty: float, whole: float, places: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random batch.

        Args:
            crops, empty: shares of one-object crops and of views without objects; the rest is scenes and windows.
            whole: share of whole scenes in that rest.
            places: share of the captions that name the place (those of empty views always do).

        Returns:
            uint8 (n, size, size, 3) and int8 (n, 20): PRESENT, ABSENT or UNKNOWN for each of CONCEPTS.
        """
        pixels = np.empty((n, size, size, 3), np.uint8)
        facts = np.zeros((n, len(CONCEPTS)), np.int8)
        for row in range(n):
            i, kind = int(rng.integers(len(self))), rng.random()
            box = self.empty(rng, i) if kind < empty else None
            if box is not None:
                named = True
            elif kind < empty + crops:
                j = int(rng.choice(self.objects(i)))
                box = self.crop(i, j, rng.uniform(1.05, 1.7), rng.normal(0, 0.06, 2))
                facts[row, self.data["classes"][i, j]] = PRESENT
                named = rng.random() < places
            else:
                box = self.whole(i) if rng.random() < whole else self.window(rng, i)
                facts[row, :K] = self.visible(i, box)
                named = rng.random() < places or not (facts[row] == PRESENT).any()
            facts[row, K:] = ABSENT if named else UNKNOWN
            if named:
                facts[row, K + int(self.data["places"][i])] = PRESENT
            pixels[row] = self.pixels(i, box, size)
            if rng.random() < 0.5:
                pixels[row] = pixels[row, :, ::-1]
        gain = rng.uniform(0.8, 1.2, (n, 1, 1, 3)).astype(np.float32)
        return np.clip(pixels * gain, 0, 255).astype(np.uint8), facts


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over classes of the average precision. ``scores`` float (n, K), ``truth`` bool (n, K)."""
    order = np.argsort(-scores, axis=0, kind="stable")
    hit = np.take_along_axis(truth, order, 0)
    precision = hit.cumsum(0) / np.arange(1, len(hit) + 1)[:, None]
    return float(((precision * hit).sum(0) / hit.sum(0)).mean())
