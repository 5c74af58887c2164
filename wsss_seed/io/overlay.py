"""Label maps drawn over their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

IGNORE_COLOUR = (255, 255, 255)


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[tuple[int, int, int]],
    opacity: float = 0.5,
    ignore: int = 255,
) -> Image.Image:
    """A label map blended over its image: classes in palette colours, ignored pixels white, background unchanged.

    Args:
        image: uint8 (H, W, 3) RGB.
        labels: uint8 (H, W).
        palette: RGB colours by label.
        opacity: of the label map, 0 to 1.
        ignore: the label of ignored pixels.
    """
    colours = np.array(palette, np.float32)
    colours[ignore] = IGNORE_COLOUR
    weight = np.where(labels > 0, np.float32(opacity), np.float32(0))[..., None]
    return Image.fromarray(np.rint(image * (1 - weight) + colours[labels] * weight).astype(np.uint8))
