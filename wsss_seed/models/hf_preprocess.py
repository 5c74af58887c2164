"""Preprocessing with image processors of transformers, for images of any shape."""

from typing import Any

import numpy as np
from PIL import Image


def preprocess(processor: Any, image: np.ndarray, max_aspect_ratio: int | None = None) -> Any:
    """Preprocess an image with an image processor of transformers.

    Args:
        processor: the image processor.
        image: uint8 (H, W, 3).
        max_aspect_ratio: images with a higher ratio of longer to shorter side are stretched to it first, for models
            that fail on thin strips; None for no limit.

    Returns:
        Tensors of the processor by name.
    """
    if max_aspect_ratio is not None:
        height, width = image.shape[:2]
        least = -(-max(height, width) // max_aspect_ratio)
        if min(height, width) < least:
            size = (max(width, least), max(height, least))
            image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    # A processor would guess channels first for an image of 1 or 3 rows.
    return processor(images=image, input_data_format="channels_last", return_tensors="pt")
