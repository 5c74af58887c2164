"""Images and datasets of images that are drawn, so that nothing has to be brought along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsss_seed.data.toyland import draw

SIZE = (500, 375)
"""Width and height of most images of VOC."""


def picture(number: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A drawn scene, uint8 (H, W, 3), enlarged to a width and a height."""
    return np.array(Image.fromarray(draw(number, "test").image).resize(size, Image.Resampling.BICUBIC))


def folder_of_pictures(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """A new folder with images of a width and a height."""
    folder.mkdir()
    for i in range(count):
        Image.fromarray(picture(i, size)).save(folder / f"{i:06}.jpg", quality=95)
    return folder
