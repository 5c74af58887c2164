"""SAMS, SAM-based seeding: each mask proposal takes the class with the highest mean activation.

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
    """A run-length encoded mask in row-major order: int64 (n,) start of each run, and end (exclusive)."""

    start: np.ndarray
    end: np.ndarray

    @property
    def area(self) -> int:
        """Area of the mask in pixels."""
        return int((self.end - self.start).sum())


class MaskLabels(NamedTuple):
    """Labels of n masks.

    Attributes:
        labels: uint8 (n,), 0 background, 1..K foreground.
        confidence: float32 (n,) in 0..1, the score of the label.
        margin: float32 (n,) in 0..1, difference between the two highest scores.
    """

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray


class SamsMaps(NamedTuple):
    """Seed of an image: labels uint8 (H, W), where the ignore label occurs only in masks that are too large; confidence
    and margin float32 (H, W) of the topmost mask at a pixel, 0 where there is none or where it is too large."""

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray


def runs_of(mask: np.ndarray | Mapping[str, Any]) -> Runs:
    """Runs of a mask bool (H, W) or in COCO's compressed RLE."""
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

    With the cumulative sum of a map, the sum over a mask is a sum of differences at the ends of its runs. So masks are
    never decoded, and one map is in memory at a time.

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

    The means of a class are min-max normalised over the masks of the image; the background score is
    ``(1 - best class) ** exponent``, so that with exponent 0.6 a mask is background below a best score of 0.588.
    Computed in float32, where ties between the best masks of two classes are broken by rounding only.

    Args:
        means: float32 (C, n), C >= 1.
        exponent: exponent of the background score.
    """
    classes = minmax(torch.from_numpy(means).float(), (-1,))
    background = (1 - classes.amax(0, keepdim=True)) ** exponent
    return torch.cat([background, classes]).numpy()


def assign_labels(scores: np.ndarray, classes: Sequence[int]) -> MaskLabels:
    """The highest-scoring label of each mask; ties go to the background, then to the earlier class.

    Args:
        scores: float32 (1 + C, n) from ``mask_scores``.
        classes: foreground indices of the C classes.
    """
    labels = np.array([0, *(int(c) + 1 for c in classes)], np.uint8)
    second, first = np.sort(scores, 0)[-2:]
    return MaskLabels(labels[scores.argmax(0)], first, first - second)


def overlay_order(levels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Indices of masks, int64 (n,), in the order they are painted, later over earlier: by level, then confidence, then
    index.

    So a whole (level 2) covers parts (1) and sub-parts (0), and background masks cover others as well.
    """
    return np.lexsort((confidence, levels))


def overlay(masks: Sequence[Runs], order: Iterable[int], pixels: int) -> np.ndarray:
    """Index of the topmost mask at each pixel in row-major order, int32 (pixels,); n where there is none.

    Args:
        masks: n masks of one image.
        order: order in which they are painted, later over earlier.
        pixels: number of pixels of the image.
    """
    topmost = np.full(pixels, len(masks), np.int32)
    for i in order:
        for start, end in zip(*masks[i], strict=True):
            topmost[start:end] = i
    return topmost


def sams(
    cams: torch.Tensor,
    classes: Sequence[int],
    masks: Iterable[np.ndarray | Mapping[str, Any] | Runs],
    levels: Sequence[int] | np.ndarray,
    exponent: float,
    size: tuple[int, int],
    max_area_ratio: float = 1.0,
) -> SamsMaps:
    """The seed of an image from its maps and mask proposals.

    Empty masks are skipped. Without masks or without classes everything is background with confidence 0; so is an image
    with a single mask, whose min-max normalised score is 0, but with confidence 1 in the mask.

    Args:
        cams: float32 (C, h, w), signed, raw or refined; upsampled bilinearly, then ReLU.
        classes: foreground indices of the C classes.
        masks: n proposals, bool (H, W), in COCO's RLE, or as runs; consumed one at a time.
        levels: (n,) 0 sub-part, 1 part, 2 whole.
        exponent: exponent of the background score.
        size: height and width of the image.
        max_area_ratio: share of the image above which a mask of a foreground class is ignored. Min-max normalisation
            gives each class a best mask, and where no proposal covers the object itself, that may be the whole
            background. 1, as in the original, ignores none.

    Raises:
        ValueError: levels and masks differ in number, or a mask does not fit the image.
    """
    height, width = size
    runs = [m if isinstance(m, Runs) else runs_of(m) for m in masks]
    if len(runs) != len(levels) or any(m.end[-1] > height * width for m in runs if len(m.end)):
        raise ValueError(f"{len(runs)} masks of {height} x {width} pixels with one level each needed")
    level = np.asarray(levels)[[m.area > 0 for m in runs]]
    runs = [m for m in runs if m.area]
    if not runs or not len(classes):
        return SamsMaps(np.zeros(size, np.uint8), np.zeros(size, np.float32), np.zeros(size, np.float32))
    upsampled = (resized(cam[None], size)[0].relu().cpu() for cam in cams.detach().float())
    votes = assign_labels(mask_scores(mask_means(upsampled, runs), exponent), classes)
    topmost = overlay(runs, overlay_order(level, votes.confidence), height * width)
    too_large = (votes.labels > 0) & (np.array([m.area for m in runs]) > max_area_ratio * height * width)
    for values, ignored in zip(votes, (IGNORE, 0, 0), strict=True):
        values[too_large] = ignored
    return SamsMaps(*(np.append(values, values.dtype.type(0))[topmost].reshape(size) for values in votes))
