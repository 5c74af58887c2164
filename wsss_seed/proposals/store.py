"""Mask proposals of an image, and an on-disk store shared by all runs."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rle import checked_size, unpacked
from ..io.files import plain, write_bytes

LAYOUT = 1
_PIXELS = 2**26


@dataclass(frozen=True)
class Proposals:
    """The S mask proposals of one image; S may be 0.

    Attributes:
        size: height and width of the image.
        masks: COCO's compressed RLE of each, ``{"size": [H, W], "counts": bytes}``.
        level: int8 (S,), 0 sub-part, 1 part, 2 whole.
        predicted_iou: float32 (S,), as predicted by the decoder.
        stability: float32 (S,) stability score, before holes were filled and islands removed.
        area: int64 (S,) in pixels.
        point: float32 (S, 2) x y of the point prompt.
        crop: int32 (S, 4) x0 y0 x1 y1 of the crop in which it was found.
    """

    size: tuple[int, int]
    masks: tuple[dict[str, Any], ...]
    level: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    area: np.ndarray
    point: np.ndarray
    crop: np.ndarray

    def __len__(self) -> int:
        return len(self.masks)

    def dense(self, part: slice = slice(None)) -> np.ndarray:
        """Masks as bool (s, H, W), one byte per pixel; use ``part`` for large images."""
        from pycocotools import mask as rle

        masks = self.masks[part]
        out = np.zeros((len(masks), *self.size), bool)
        for mask, into in zip(masks, out, strict=True):
            into[:] = rle.decode(mask)
        return out

    def chunks(self, pixels: int = _PIXELS) -> Iterator[tuple[slice, np.ndarray]]:
        """``dense`` masks in order, in chunks of at most ``pixels`` pixels but at least one mask."""
        step = max(1, pixels // (self.size[0] * self.size[1]))
        for start in range(0, len(self), step):
            part = slice(start, min(start + step, len(self)))
            yield part, self.dense(part)

    def take(self, which: Sequence[int] | np.ndarray) -> Proposals:
        """A selection of proposals, in the given order."""
        indices = np.asarray(which, np.int64)
        return Proposals(
            self.size,
            tuple(self.masks[i] for i in indices),
            self.level[indices],
            self.predicted_iou[indices],
            self.stability[indices],
            self.area[indices],
            self.point[indices],
            self.crop[indices],
        )

    def to_bytes(self) -> bytes:
        """Gzipped JSON with the records of segment_anything's generator (``coco_rle``), plus the level."""
        height, width = self.size
        records = [
            {
                "segmentation": {"size": [height, width], "counts": mask["counts"].decode("ascii")},
                "level": self.level[i],
                "predicted_iou": self.predicted_iou[i],
                "stability_score": self.stability[i],
                "area": self.area[i],
                "point_coords": [self.point[i]],
                "crop_box": [*self.crop[i, :2], *(self.crop[i, 2:] - self.crop[i, :2])],
            }
            for i, mask in enumerate(self.masks)
        ]
        value = {"layout": LAYOUT, "size": [height, width], "proposals": records}
        return gzip.compress(json.dumps(plain(value)).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> Proposals:
        """Inverse of ``to_bytes``. Raises ValueError for anything else, including runs that do not fit the image."""
        try:
            value = json.loads(gzip.decompress(data))
            if value["layout"] != LAYOUT:
                raise ValueError(f"layout {value['layout']}, not {LAYOUT}")
            height, width = checked_size(*value["size"])
            records = value["proposals"]
            counts = [r["segmentation"]["counts"].encode("ascii") for r in records]
            for text in counts:
                if not unpacked(text, height * width)[1:].all():
                    raise ValueError("empty runs")  # COCO's decoder never produces them
            boxes = np.array([r["crop_box"] for r in records], np.int32).reshape(-1, 4)
            return cls(
                (height, width),
                tuple({"size": [height, width], "counts": text} for text in counts),
                np.array([r["level"] for r in records], np.int8),
                np.array([r["predicted_iou"] for r in records], np.float32),
                np.array([r["stability_score"] for r in records], np.float32),
                np.array([r["area"] for r in records], np.int64),
                np.array([r["point_coords"][0] for r in records], np.float32).reshape(-1, 2),
                np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
            )
        except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"not mask proposals ({error})") from None
        except Exception as error:  # zlib.error is not among them
            raise ValueError(f"not mask proposals ({error})") from None


class ProposalStore:
    """A folder of mask proposals, one file per image, addressed by content.

    The path of a file is a hash of the pixels of the image, the settings and the weights of SAM. So runs share files
    regardless of file names, and stale files are never read. Several processes may use the same folder.

    Attributes:
        folder: the folder.
        key: hash of settings and weights.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], weights: str) -> None:
        """
        Args:
            folder: created at the first write.
            settings: everything that determines the proposals, as JSON values.
            weights: hash of the weights of SAM.
        """
        self.folder = folder
        key = json.dumps({"layout": LAYOUT, "settings": plain(settings), "weights": weights}, sort_keys=True)
        self.key = hashlib.sha256(key.encode()).hexdigest()[:16]

    def path(self, image: np.ndarray) -> Path:
        """Path of the proposals of an image uint8 (H, W, 3)."""
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        name = digest.hexdigest()[:32]
        return self.folder / self.key / name[:2] / f"{name}.json.gz"

    def read(self, path: Path, size: tuple[int, int]) -> Proposals | None:
        """Proposals of an image with height and width ``size``; None if there are none or the file is damaged."""
        try:
            found = Proposals.from_bytes(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.size == size else None

    def write(self, path: Path, proposals: Proposals) -> None:
        """Store proposals atomically. Raises OSError."""
        write_bytes(path, proposals.to_bytes())
