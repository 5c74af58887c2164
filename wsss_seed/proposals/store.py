"""Mask proposals as a record, and a folder that keeps them for whoever needs them next."""

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
    """The mask proposals of one image, S of them; S may be 0.

    Attributes:
        size: height and width of the image.
        masks: COCO's compressed RLE of each, ``{"size": [H, W], "counts": bytes}``.
        level: int8 (S,), which of the decoder's masks it was: 0 sub-part, 1 part, 2 whole.
        predicted_iou: float32 (S,) as the decoder gave it.
        stability: float32 (S,) as measured before the mask was repaired.
        area: int64 (S,) pixels.
        point: float32 (S, 2) x y, the point that asked for it.
        crop: int32 (S, 4) x0 y0 x1 y1, the part of the image that SAM saw then.
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
        """Masks as bool (s, H, W): a byte a pixel, so ask for a part of them where the image is large."""
        from pycocotools import mask as rle

        masks = self.masks[part]
        out = np.zeros((len(masks), *self.size), bool)
        for mask, into in zip(masks, out, strict=True):
            into[:] = rle.decode(mask)
        return out

    def chunks(self, pixels: int = _PIXELS) -> Iterator[tuple[slice, np.ndarray]]:
        """``dense`` of all masks in order, as many at a time as ``pixels`` allow, at least one."""
        step = max(1, pixels // (self.size[0] * self.size[1]))
        for start in range(0, len(self), step):
            part = slice(start, min(start + step, len(self)))
            yield part, self.dense(part)

    def take(self, which: Sequence[int] | np.ndarray) -> Proposals:
        """Some of them, in the order given."""
        places = np.asarray(which, np.int64)
        return Proposals(
            self.size,
            tuple(self.masks[i] for i in places),
            self.level[places],
            self.predicted_iou[places],
            self.stability[places],
            self.area[places],
            self.point[places],
            self.crop[places],
        )

    def to_bytes(self) -> bytes:
        """A gzip of JSON, whose records are those of segment_anything's generator (``coco_rle``) and their level."""
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
        """What ``to_bytes`` made. Raises ValueError for anything else, runs that are not of the image among them."""
        try:
            value = json.loads(gzip.decompress(data))
            if value["layout"] != LAYOUT:
                raise ValueError(f"layout {value['layout']}, not {LAYOUT}")
            height, width = checked_size(*value["size"])
            records = value["proposals"]
            counts = [r["segmentation"]["counts"].encode("ascii") for r in records]
            for text in counts:
                if not unpacked(text, height * width)[1:].all():
                    raise ValueError("runs of no pixel")  # COCO's code, which is to read them, never makes them
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
        except Exception as error:  # zlib.error is its own kind
            raise ValueError(f"not mask proposals ({error})") from None


class ProposalStore:
    """A folder of mask proposals, one file an image, found by what made them.

    A file's name is a hash of the image's pixels, the settings and SAM's weights. So every run that asks for the same
    shares it, whatever the image is called, and nothing stale is ever read. Several processes may use one folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], weights: str) -> None:
        """
        Args:
            folder: made when first written to.
            settings: everything that determines the proposals, as JSON values.
            weights: hash of SAM's weights.
        """
        self.folder = folder
        key = json.dumps({"layout": LAYOUT, "settings": plain(settings), "weights": weights}, sort_keys=True)
        self._key = hashlib.sha256(key.encode()).hexdigest()[:16]

    def path(self, image: np.ndarray) -> Path:
        """Where the proposals of an image uint8 (H, W, 3) are kept."""
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        name = digest.hexdigest()[:32]
        return self.folder / self._key / name[:2] / f"{name}.json.gz"

    def read(self, path: Path, size: tuple[int, int]) -> Proposals | None:
        """Proposals of an image of height and width ``size``; None where there are none or the file is damaged."""
        try:
            found = Proposals.from_bytes(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.size == size else None

    def write(self, path: Path, proposals: Proposals) -> None:
        """Keep proposals: a reader, or a kill at any moment, finds the whole file or none. Raises OSError."""
        write_bytes(path, proposals.to_bytes())
