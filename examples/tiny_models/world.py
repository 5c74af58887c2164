"""Toyland as training arrays on disk: images drawn once, resized to a longest side of 128 and padded.

python world.py --images 40000 --out DIR
"""

from __future__ import annotations

import argparse
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_seed.data.toyland import CLASSES, PLACES, draw

SIDE = 128
MAX_OBJECTS = 4
NONE = 255  # padding value of ``classes``


def scaled(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Height and width with the longest side at ``side``, rounded as SAM rounds them."""
    scale = side / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def one(index: int, split: str, seed: int) -> dict[str, np.ndarray]:
    """The arrays of one image; keys as in ``arrays``."""
    scene = draw(index, split, seed)
    h, w = scaled(*scene.labels.shape)

    def padded(a: np.ndarray, how: Image.Resampling) -> np.ndarray:
        small = np.asarray(Image.fromarray(a).resize((w, h), how))
        return np.pad(small, ((0, SIDE - h), (0, SIDE - w)) + ((0, 0),) * (a.ndim - 2))

    classes = np.full(MAX_OBJECTS, NONE, np.uint8)
    classes[: len(scene.objects)] = [o.index for o in scene.objects]
    boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
    boxes[: len(scene.objects)] = scene.boxes * ((w / scene.labels.shape[1], h / scene.labels.shape[0]) * 2)
    return {
        "images": padded(scene.image, Image.Resampling.BILINEAR),
        "instances": padded(scene.instances, Image.Resampling.NEAREST),
        "parts": padded(scene.parts, Image.Resampling.NEAREST),
        "sizes": np.array([h, w], np.uint8),
        "classes": classes,
        "boxes": boxes,
        "places": np.array(list(PLACES).index(scene.place), np.uint8),
    }


def arrays(split: str, images: int, folder: Path, seed: int = 0, workers: int = 2) -> dict[str, np.ndarray]:
    """Open the memory-mapped arrays of a split, drawing them if they do not exist.

    Returns:
        images uint8 (n, 128, 128, 3), padded below and right with 0; instances and parts uint8 (n, 128, 128);
        sizes uint8 (n, 2) height and width of the unpadded part; classes uint8 (n, 4) foreground indices, 255 for
        none; boxes float32 (n, 4, 4) x0 y0 x1 y1 in padded pixels; places uint8 (n,).
    """
    root = folder / f"{split}-{seed}-{images}"
    if not (root / "done").exists():
        print(f"drawing {images} images of {split} into {root}", flush=True)
        root.mkdir(parents=True, exist_ok=True)
        out: dict[str, np.ndarray] = {}
        with Pool(workers) as pool:
            for i, row in enumerate(pool.imap(partial(one, split=split, seed=seed), range(images), chunksize=100)):
                for key, a in row.items():
                    if key not in out:
                        shape = (images, *a.shape)
                        out[key] = np.lib.format.open_memmap(root / f"{key}.npy", "w+", a.dtype, shape)
                    out[key][i] = a
        for a in out.values():
            a.flush()  # type: ignore[attr-defined]
        (root / "done").touch()
    return {p.stem: np.load(p, mmap_mode="r") for p in sorted(root.glob("*.npy"))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40000, help="training images; val gets 500 and test 1000")
    parser.add_argument("--out", type=Path, default=Path("runs/world"))
    args = parser.parse_args()
    for split, n in (("val", 500), ("test", 1000), ("train", args.images)):
        data = arrays(split, n, args.out)
        counts = np.bincount(data["classes"][data["classes"] != NONE], minlength=len(CLASSES))
        print(split, n, dict(zip(CLASSES, counts.tolist(), strict=True)), flush=True)
