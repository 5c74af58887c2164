"""Images as transformers' processors take them, whatever their shape."""

from typing import Any

import numpy as np
from PIL import Image


def preprocess(processor: Any, image: np.ndarray, thinnest: int | None = None) -> Any:
    """What an image processor of transformers makes of an image.

    Args:
        processor: the image processor.
        image: uint8 (H, W, 3).
        thinnest: an image whose longer side is more than so many times its shorter one is widened to that first, where
            the model could not look at a strip.

    Returns:
        The processor's tensors by name.
    """
    if thinnest is not None:
        height, width = image.shape[:2]
        least = -(-max(height, width) // thinnest)
        if min(height, width) < least:
            size = (max(width, least), max(height, least))
            image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    # Unless told, a processor would take an image of 1 or 3 lines for one whose channels come first.
    return processor(images=image, input_data_format="channels_last", return_tensors="pt")
