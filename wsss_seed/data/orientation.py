"""The EXIF orientation of photographs: how stored pixels are turned to be upright, and back.

Cameras store the pixels as the sensor reads them, and in EXIF how the photograph is to be shown. Models were trained on
upright photographs, whereas annotations refer to the stored pixels. So everything that a model sees is turned upright
when it is loaded, and what it returns is turned back when it is saved, unless the user asks for upright masks.
``data.images`` reads the orientation; this module is the geometry.

An orientation is the EXIF value 1..8; 1 is upright. Values from 5 on exchange rows and columns.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ..errors import unknown_name

Orientation = Literal["stored", "upright"]
"""What label maps match: the stored pixels of an image file, or the upright image."""

_FLIPPED_ROWS = (3, 4, 7, 8)
_FLIPPED_COLUMNS = (2, 3, 6, 7)


def check_orientation(name: str) -> Orientation:
    """Return the name if it is an ``Orientation``. Raises UsageError."""
    for known in get_args(Orientation):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise unknown_name("orientation", name, get_args(Orientation))


def turned_remark(turned: int, images: int, orientation: Orientation) -> str:
    """What a user should know about a run in which ``turned`` of the images were turned; empty if none was."""
    if not turned:
        return ""
    masks = (
        "masks match the stored pixels (`orientation` upright turns masks as well)"
        if orientation == "stored"
        else "masks, and the copies of these images in the run folder, are upright"
    )
    return f"turned upright for the models, according to EXIF: {turned} of {images} images; {masks}"


def inverse(exif: int) -> int:
    """The orientation that turns an upright image back to how it is stored."""
    return {6: 8, 8: 6}.get(exif, exif)


def turn(pixels: np.ndarray, exif: int) -> np.ndarray:
    """Turn stored pixels upright: an array (H, W, ...), returned contiguous; unchanged and not copied if ``exif`` is 1.

    The same as ``PIL.ImageOps.exif_transpose``.
    """
    if exif == 1:
        return pixels
    turned = pixels.swapaxes(0, 1) if exif >= 5 else pixels
    rows = slice(None, None, -1 if exif in _FLIPPED_ROWS else 1)
    columns = slice(None, None, -1 if exif in _FLIPPED_COLUMNS else 1)
    return np.ascontiguousarray(turned[rows, columns])


def turn_boxes(xyxy: np.ndarray, exif: int, size: tuple[int, int]) -> np.ndarray:
    """Turn boxes as ``turn`` turns their image.

    Args:
        xyxy: (n, 4) x0 y0 x1 y1 in pixels.
        exif: the orientation.
        size: height and width of the image before it is turned.

    Returns:
        (n, 4), of the same dtype.
    """
    if exif == 1:
        return xyxy
    x0, y0, x1, y1 = xyxy.T
    height, width = size
    if exif >= 5:
        (x0, y0, x1, y1), (height, width) = (y0, x0, y1, x1), (width, height)
    if exif in _FLIPPED_COLUMNS:
        x0, x1 = width - x1, width - x0
    if exif in _FLIPPED_ROWS:
        y0, y1 = height - y1, height - y0
    return np.stack([x0, y0, x1, y1], 1).astype(xyxy.dtype)
