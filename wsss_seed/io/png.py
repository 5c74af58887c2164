"""Label maps, confidence and images as PNG files. Label maps are read by ``data.images.read_labels``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .files import write_bytes
from .source import Location


def write_mask(path: Location, labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> str:
    """Write a label map as a PNG (see ``mask_bytes``). Returns the file's SHA-256. Raises OSError and ValueError."""
    data = mask_bytes(labels, palette)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def mask_bytes(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> bytes:
    """A label map as a mode P PNG with 256 palette entries; equal labels give equal bytes.

    Args:
        labels: uint8 (H, W); 0 background, 1..K foreground, 255 ignore.
        palette: 256 RGB colours.

    Raises ValueError for anything but a uint8 map and 256 colours.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise ValueError(f"a label map is uint8 (H, W), not {labels.dtype} {labels.shape}")
    if len(palette) != 256:
        # Pillow packs short palettes into fewer bits: with 21 entries, 255 would be read back as 15.
        raise ValueError(f"a palette has 256 colours, not {len(palette)}")
    image = Image.fromarray(labels)
    image.putpalette(bytes(value for colour in palette for value in colour))
    return _png(image, bits=8)


def write_confidence(path: Location, confidence: np.ndarray) -> None:
    """Write a confidence map, float (H, W) in 0..1, as an 8-bit L PNG (0..255). Raises OSError."""
    grey = np.empty(confidence.shape, np.uint8)
    for row, values in zip(grey, confidence, strict=True):  # by rows, because the intermediate arrays are float
        row[:] = np.rint(np.clip(values, 0.0, 1.0) * 255.0)
    write_bytes(path, _png(Image.fromarray(grey)))


def write_grey(path: Location, values: np.ndarray) -> None:
    """Write uint8 (H, W) as an 8-bit L PNG. Raises OSError."""
    write_bytes(path, _png(Image.fromarray(values)))


def write_rgb(path: Location, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as a PNG, regardless of the suffix of ``path``. Raises OSError."""
    write_bytes(path, _png(Image.fromarray(image)))


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()
