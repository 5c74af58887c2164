"""Label maps drawn over their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

IGNORE_COLOUR = (255, 255, 255)
_ROWS = 256  # blended at a time, because the intermediate arrays are float


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
    blended = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), _ROWS):
        rows = slice(top, top + _ROWS)
        weight = np.where(labels[rows] > 0, np.float32(opacity), np.float32(0))[..., None]
        blended[rows] = np.rint(image[rows] * (1 - weight) + colours[labels[rows]] * weight)
    return Image.fromarray(blended)


def draw_outlines(picture: Image.Image, labels: np.ndarray) -> None:
    """Draw the borders between the labels of a picture, white with a dark edge, which shows on any image.

    Args:
        picture: RGB, drawn on.
        labels: uint8 (H, W), of the same size.
    """
    border = np.zeros(labels.shape, np.uint8)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    line = Image.fromarray(border * np.uint8(255))
    picture.paste("black", mask=line.filter(ImageFilter.MaxFilter(5)))
    picture.paste("white", mask=line.filter(ImageFilter.MaxFilter(3)))
