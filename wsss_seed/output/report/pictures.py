"""Pictures inside the page: thumbnails as data URIs, and enlarged photographs with their label maps."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

SIDE = 176
"""Longest side of a thumbnail in pixels."""

LARGE, MEDIUM, FEW = 1024, 512, 500
"""Longest side of an enlarged picture in pixels: 1,024 on a page of at most 500 images, otherwise 512, so that a page
of 2,000 photographs has about 100 MB rather than 200."""


def enlarged_side(images: int) -> int:
    """Longest side of the enlarged pictures on a page of this many images."""
    return LARGE if images <= FEW else MEDIUM


def photograph(pixels: np.ndarray, side: int = SIDE) -> str:
    """A photograph or confidence map, uint8 (H, W, 3) or (H, W), as the data URI of a WebP picture."""
    buffer = io.BytesIO()
    _fit(Image.fromarray(pixels), Image.Resampling.BOX, side).save(buffer, "WEBP", quality=65, method=2)
    return _uri("webp", buffer)


def index_png(labels: np.ndarray, palette: Any) -> str:
    """A thumbnail of a label map, uint8 (H, W), as the data URI of an index PNG in which 0 is transparent."""
    picture = _fit(Image.fromarray(labels), Image.Resampling.NEAREST, SIDE)
    picture.putpalette(bytes(value for colour in palette for value in colour))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=0)
    return _uri("png", buffer)


def enlarged(image: np.ndarray, labels: np.ndarray, truth: np.ndarray | None, side: int) -> dict[str, Any]:
    """The enlarged view of an image, as JSON values.

    Label maps are values, not colours, because the page draws outlines and errors from them, and browsers that guard
    against fingerprinting alter what a script reads from a picture.

    Args:
        image: uint8 (H, W, 3) RGB.
        labels: uint8 (H, W) label map.
        truth: uint8 (H, W) ground truth; None without any.
        side: longest side in pixels.

    Returns:
        ``photo``, a data URI; ``size``, width and height of the label maps; ``mask`` and perhaps ``truth``, label maps
        row by row, deflated (RFC 1950), in Base64.
    """
    maps = {"mask": labels} | ({} if truth is None else {"truth": truth})
    small = {name: np.asarray(_fit(Image.fromarray(m), Image.Resampling.NEAREST, side)) for name, m in maps.items()}
    deflated = {name: base64.b64encode(zlib.compress(m.tobytes(), 9)).decode("ascii") for name, m in small.items()}
    return {"photo": photograph(image, side), "size": small["mask"].shape[::-1], **deflated}


def _fit(picture: Image.Image, how: Image.Resampling, side: int) -> Image.Image:
    scale = min(1.0, side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, how)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
