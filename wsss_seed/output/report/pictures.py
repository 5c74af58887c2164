"""Pictures of the page: thumbnails, and enlarged photographs with their label maps."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

SIDE = 176
"""Longest side of a thumbnail in pixels."""

LARGE, MEDIUM, FEW = 1024, 512, 500
"""Longest side of an enlarged picture in pixels: 1,024 on a page of at most 500 images, otherwise 512, so that a page
of 2,000 photographs has about 100 MB rather than 200."""


@dataclass(frozen=True)
class Picture:
    """A picture as a file.

    Attributes:
        kind: ``webp`` or ``png``.
        content: of the file.
    """

    kind: str
    content: bytes

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True)
class Enlarged:
    """The enlarged view of an image.

    Label maps are values, not colours, because the page draws outlines and errors from them, and browsers that guard
    against fingerprinting alter what a script reads from a picture.

    Attributes:
        photo: the photograph.
        maps: ``size``, width and height of the label maps, and these by name, row by row, deflated (RFC 1950), in
            Base64.
    """

    photo: Picture
    maps: dict[str, Any]


def enlarged_side(images: int) -> int:
    """Longest side of the enlarged pictures on a page of this many images."""
    return LARGE if images <= FEW else MEDIUM


def photograph(pixels: np.ndarray, side: int = SIDE) -> Picture:
    """A photograph or confidence map, uint8 (H, W, 3) or (H, W), as WebP."""
    buffer = io.BytesIO()
    _fit(Image.fromarray(pixels), Image.Resampling.BOX, side).save(buffer, "WEBP", quality=65, method=2)
    return Picture("webp", buffer.getvalue())


def index_png(labels: np.ndarray, palette: Any) -> Picture:
    """A thumbnail of a label map, uint8 (H, W), as an index PNG in which 0 is transparent."""
    picture = _fit(Image.fromarray(labels), Image.Resampling.NEAREST, SIDE)
    picture.putpalette(bytes(value for colour in palette for value in colour))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=0)
    return Picture("png", buffer.getvalue())


def enlarged(image: np.ndarray, maps: Mapping[str, np.ndarray], side: int) -> Enlarged:
    """The enlarged view of an image.

    Args:
        image: uint8 (H, W, 3) RGB.
        maps: label maps by name, each uint8 (H, W).
        side: longest side in pixels.
    """
    small = {name: np.asarray(_fit(Image.fromarray(m), Image.Resampling.NEAREST, side)) for name, m in maps.items()}
    deflated = {name: base64.b64encode(zlib.compress(m.tobytes(), 9)).decode("ascii") for name, m in small.items()}
    height, width = next(iter(small.values())).shape
    return Enlarged(photograph(image, side), {"size": (width, height), **deflated})


def _fit(picture: Image.Image, how: Image.Resampling, side: int) -> Image.Image:
    scale = min(1.0, side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, how)
