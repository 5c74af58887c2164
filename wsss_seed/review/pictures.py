"""What the page shows of an image: thumbnails, made once and kept beside the corrections, and the photograph."""

from __future__ import annotations

import hashlib
import io
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.corrections import CORRECTIONS
from ..errors import ImageError
from ..io.files import names_in, write_bytes
from ..io.overlay import overlay
from .session import OWN, Session

SIDE = 240
"""Longest side of a thumbnail in pixels."""

LARGEST = 6000
"""Longest side of the photograph on the page. Masks always have all their pixels."""

THUMBNAILS = ".thumbnails"
_AT_ONCE = threading.BoundedSemaphore(4)  # photographs that are decoded at the same time, for their memory


def thumbnail_key(session: Session, id: str) -> str:
    """Changes whenever the mask in use or the photograph does."""
    mask = session.standing(id).mask or session.digest(id) or "none"
    return hashlib.sha256(f"{mask} {session.image_stamp(id)} {SIDE}".encode()).hexdigest()[:16]


def thumbnail(session: Session, id: str) -> bytes:
    """The image under its mask as a small WebP picture, from the cache if it is there.

    Raises ImageError if image or mask cannot be read, or their sizes differ, and UsageError for an unknown id.
    """
    session.entry(id)
    name = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    folder = session.run / CORRECTIONS / THUMBNAILS / name[:2]
    path = folder / f"{name}-{thumbnail_key(session, id)}.webp"
    try:
        return path.read_bytes()
    except OSError:
        data = _drawn(session, id)
    with suppress(OSError):  # a cache that cannot be written only costs time
        if not _links_away(session.run, folder):
            for former in names_in(folder):
                if former.startswith(f"{name}-"):
                    (folder / former).unlink(missing_ok=True)
            write_bytes(path, data)
    return data


def _links_away(run: Path, folder: Path) -> bool:
    return any(path.is_symlink() for path in (folder, folder.parent, run / CORRECTIONS))


def _drawn(session: Session, id: str) -> bytes:
    with _AT_ONCE:
        labels, _ = session.labels(id, session.standing(id).mask or OWN)
        pixels = session.image(id)
        if pixels.shape[:2] != labels.shape:
            raise ImageError(
                f"{id}: the image has {pixels.shape[1]} x {pixels.shape[0]} pixels, its mask {labels.shape[1]} x "
                f"{labels.shape[0]}"
            )
        photo = _fit(Image.fromarray(pixels), SIDE, Image.Resampling.BOX)
        small = Image.fromarray(labels).resize(photo.size, Image.Resampling.NEAREST)
    return _webp(overlay(np.asarray(photo), np.asarray(small), session.palette, 0.55))


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()


def photograph(session: Session, id: str) -> bytes:
    """The image as a JPEG of at most ``LARGEST`` pixels a side. Raises ImageError."""
    with _AT_ONCE:
        picture = _fit(Image.fromarray(session.image(id)), LARGEST, Image.Resampling.BOX)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _fit(picture: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    scale = min(1.0, side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, how)
