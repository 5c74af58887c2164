"""Image classification with CLIP's patches, as in TagCLIP (arXiv 2312.12828) and its released code.

The class token is ruled by what is most prominent in an image; the patches also show what is small or at the edge. Each
patch is classified by itself, its probabilities are averaged over the patches that it attends to, the best patch gives
the score of a class, and where that score is high, CLIP looks at the region of the class once more.

Unlike the code: the last row and column of patches take part, maps are compared without rounding them to 8 bits, and
CLIP sees crops of the image itself as it sees any view, without a mask on the attention of its class token, which made
no difference on toyland (mAP 0.921 with it, 0.923 without).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...proposals.regions import region_boxes
from .classification import probabilities, to_numpy

if TYPE_CHECKING:
    from ...models.clip import Clip

MAX_SIDE = 640
"""Longest side in pixels at which the patches are computed: COCO's, at which TagCLIP was published; the memory of
attention grows with its fourth power."""

SECOND_LOOK = 0.5
"""Share of the range of all scores above which a class is looked at again; of the range of its map, above which a patch
belongs to its region; and the weight of the second look in the score."""


def patch_scores(clip: Clip, image: np.ndarray, text: np.ndarray, classes: int, scale: float) -> np.ndarray:
    """The score of each text in an image.

    Args:
        clip: the model, with a plain vision transformer of open_clip.
        image: uint8 (H, W, 3) RGB.
        text: (G, D) text features of unit length, those of the classes first.
        classes: the number K of classes; only they are looked at again.
        scale: logit scale; 100 for OpenAI's CLIP.

    Returns:
        float32 (G,) in 0..1.

    Raises:
        WsssError: another kind of image tower.
    """
    patches = clip.encode_patches(image, MAX_SIDE)
    probs = probabilities(to_numpy(patches.features[0]), text, scale)
    refined = refine(probs, to_numpy(patches.attention[0]), patches.grid)
    scores: np.ndarray = refined.max(0)
    again = np.flatnonzero(scores[:classes] > _middle(refined))
    if len(again):
        height, width = image.shape[:2]
        size = np.array([width / patches.grid[1], height / patches.grid[0]] * 2)
        boxes = np.stack([region_box(refined[:, c].reshape(patches.grid)) for c in again]) * size
        seen = probabilities(to_numpy(clip.encode_views(image, boxes)), text, scale)
        scores[again] = (1 - SECOND_LOOK) * scores[again] + SECOND_LOOK * seen[np.arange(len(again)), again]
    return scores


def refine(probs: np.ndarray, attention: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Dual-masking attention refinement: the probabilities averaged along the attention between patches.

    The second mask is that of each class: of a first average, the boxes around the connected patches at or above its
    mean; only the patches inside contribute to the second average.

    Args:
        probs: (P, G) of the patches.
        attention: (P, P), queries in rows, with the first mask: 0 where few blocks attend.
        grid: rows and columns, P = h * w.

    Returns:
        float32 (P, G).
    """
    inside = np.zeros((probs.shape[1], *grid), bool)
    for first, mask in zip((attention @ probs).T, inside, strict=True):
        for x0, y0, x1, y1 in region_boxes((first >= first.mean()).reshape(grid)):
            mask[y0:y1, x0:x1] = True
    result: np.ndarray = attention @ (probs * inside.reshape(len(inside), -1).T)
    return result


def region_box(scores: np.ndarray) -> np.ndarray:
    """The box x0 y0 x1 y1 around the patches of a map (h, w) above the middle of its range, int64 (4,) in patches, the
    last two exclusive; the whole map if it is constant."""
    mask = scores > _middle(scores) if scores.min() < scores.max() else np.ones(scores.shape, bool)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _middle(scores: np.ndarray) -> float:
    low, high = float(scores.min()), float(scores.max())
    return low + SECOND_LOOK * (high - low)
