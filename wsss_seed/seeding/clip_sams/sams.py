"""SAM-based seeding (SAMS): each mask proposal gets the class of the strongest map inside it and is painted.

Source: FMA-WSSS (arXiv 2312.03585); details as in its released code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...data.classes import IGNORE
from .maps import minmax, resized


class Runs(NamedTuple):
    """A mask of an image read row by row: int64 (n,) first pixels of its runs, and the pixels after their last."""

    start: np.ndarray
    end: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int((self.end - self.start).sum())


class Verdicts(NamedTuple):
    """What n masks are.

    Attributes:
        labels: uint8 (n,), 0 background, 1..K foreground.
        confidence: float32 (n,) in 0..1, the score of that label, background's included.
        margin: float32 (n,) in 0..1, how far the score is above the next best.
    """

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray


class SamsMaps(NamedTuple):
    """Seed of an image: labels uint8 (H, W), 255 only in masks that are too large; confidence and margin float32 (H, W)
    of the mask that painted a pixel, 0 where none did or where it was too large."""

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray


def runs_of(mask: np.ndarray | Mapping[str, Any]) -> Runs:
    """Runs of a mask bool (H, W), or of one in COCO's compressed RLE."""
    if isinstance(mask, Mapping):
        from pycocotools import mask as rle

        mask = rle.decode(mask)
    flat = np.ascontiguousarray(mask).reshape(-1).astype(bool, copy=False)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        edges = np.concatenate([[0], edges])
    if len(edges) % 2:
        edges = np.concatenate([edges, [flat.size]])
    return Runs(edges[::2], edges[1::2])


def mask_means(maps: Iterable[torch.Tensor | np.ndarray], masks: Sequence[Runs]) -> np.ndarray:
    """Mean of each map inside each mask, float32 (C, n); NaN for a mask without pixels.

    Running sums along a map turn the sum over a mask into differences at the ends of its runs, so that neither the
    masks nor their product with the maps is ever spread out: one map is in memory at a time.

    Args:
        maps: C maps float32 (H, W).
        masks: n masks of that size.
    """
    areas = np.array([m.area for m in masks], np.float32)
    means = []
    for values in maps:
        until = np.concatenate([[0.0], np.cumsum(np.asarray(values).reshape(-1), dtype=np.float64)])
        sums = np.array([(until[m.end] - until[m.start]).sum() for m in masks], np.float32)
        means.append(np.divide(sums, areas, out=np.full_like(sums, np.nan), where=areas > 0))
    return np.stack(means) if means else np.zeros((0, len(masks)), np.float32)


def mask_scores(means: np.ndarray, exponent: float) -> np.ndarray:
    """Scores of background and classes for each mask, float32 (1 + C, n).

    A class's means are brought to 0..1 by min-max over the masks of the image, and background is
    ``(1 - best class) ** exponent``: a mask is background below a best score of 0.588 with exponent 0.6. All in
    float32, where masks at the top of two classes are told apart by rounding only.

    Args:
        means: float32 (C, n), C >= 1.
        exponent: of background.
    """
    classes = minmax(torch.from_numpy(means).float(), (-1,))
    background = (1 - classes.amax(0, keepdim=True)) ** exponent
    return torch.cat([background, classes]).numpy()


def judge(scores: np.ndarray, classes: Sequence[int]) -> Verdicts:
    """The best label of each mask, background and then the earlier class among equals.

    Args:
        scores: float32 (1 + C, n) from ``mask_scores``.
        classes: foreground indices of the C classes.
    """
    names = np.array([0, *(int(c) + 1 for c in classes)], np.uint8)
    best = scores.argmax(0)
    second, first = np.sort(scores, 0)[-2:]
    return Verdicts(names[best], first, first - second)


def painting_order(levels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """int64 (n,), masks as they are painted, later over earlier: by level, then confidence, then place.

    So a whole (level 2) hides parts (1) and sub-parts (0), and a mask of background hides others as well.
    """
    return np.lexsort((confidence, levels))


def painted_by(masks: Sequence[Runs], order: Iterable[int], pixels: int) -> np.ndarray:
    """Which of n masks is the last to paint each pixel of an image read row by row: int32 (pixels,), n where none does.

    Args:
        masks: of that image.
        order: in which they paint.
        pixels: of the image.
    """
    painter = np.full(pixels, len(masks), np.int32)
    for i in order:
        for start, end in zip(*masks[i], strict=True):
            painter[start:end] = i
    return painter


def sams(
    cams: torch.Tensor,
    classes: Sequence[int],
    masks: Iterable[np.ndarray | Mapping[str, Any] | Runs],
    levels: Sequence[int] | np.ndarray,
    exponent: float,
    size: tuple[int, int],
    largest: float = 1.0,
) -> SamsMaps:
    """The seed of an image from its maps and mask proposals.

    Masks without pixels are left out. Without masks or without classes everything is background with confidence 0; so
    is an image with a single mask, whose min-max is 0, but with confidence 1 in the mask.

    Args:
        cams: float32 (C, h, w), signed, raw or refined; enlarged bilinearly, then cut at 0, then averaged.
        classes: foreground indices of the C classes.
        masks: n proposals, bool (H, W), in COCO's RLE, or as runs; taken one at a time.
        levels: (n,) 0 sub-part, 1 part, 2 whole.
        exponent: of background; see ``mask_scores``.
        size: height and width of the image.
        largest: share of the image above which no mask is believed to be an object: its pixels become 255. For min-max
            makes some mask the best of each class, and where no proposal stands for the object itself, that may be the
            whole background. 1, as in the original, believes all.

    Raises:
        ValueError: as many levels as masks are needed, and masks of the image's size.
    """
    height, width = size
    runs = [m if isinstance(m, Runs) else runs_of(m) for m in masks]
    if len(runs) != len(levels) or any(m.end[-1] > height * width for m in runs if len(m.end)):
        raise ValueError(f"{len(runs)} masks of {height} x {width} pixels with a level each needed")
    level = np.asarray(levels)[[m.area > 0 for m in runs]]
    runs = [m for m in runs if m.area]
    if not runs or not len(classes):
        return SamsMaps(np.zeros(size, np.uint8), np.zeros(size, np.float32), np.zeros(size, np.float32))
    enlarged = (resized(cam[None], size)[0].relu().cpu() for cam in cams.detach().float())
    verdicts = judge(mask_scores(mask_means(enlarged, runs), exponent), classes)
    painter = painted_by(runs, painting_order(level, verdicts.confidence), height * width)
    too_large = (verdicts.labels > 0) & (np.array([m.area for m in runs]) > largest * height * width)
    for values, instead in zip(verdicts, (IGNORE, 0, 0), strict=True):
        values[too_large] = instead
    return SamsMaps(*(np.append(values, values.dtype.type(0))[painter].reshape(size) for values in verdicts))
