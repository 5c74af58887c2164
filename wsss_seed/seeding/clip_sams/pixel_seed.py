"""A seed from class activation maps alone, pixel by pixel, as in FMA-WSSS's released code (arXiv 2312.03585)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .maps import resized, score


def pixel_seed(
    cams: torch.Tensor, classes: Sequence[int], size: tuple[int, int], exponent: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The highest-scoring label, background included, at every pixel.

    The maps are upsampled first and then turned into scores (ReLU, min-max over the pixels); the background score is
    ``(1 - best score) ** exponent`` and wins ties.

    Args:
        cams: float32 (C, h, w), signed, raw or refined.
        classes: foreground indices of the C classes.
        size: height and width of the image.
        exponent: exponent of the background score; the larger, the less background.

    Returns:
        labels uint8 (H, W) without ignored pixels; confidence float32 (H, W), the highest score.
    """
    best = torch.zeros(size)
    labels = torch.zeros(size, dtype=torch.uint8)
    for cam, index in zip(cams.detach().float(), classes, strict=True):  # one map at a time: photographs are large
        scores = score(resized(cam[None], size))[0].cpu()
        labels[scores > best] = int(index) + 1
        best = torch.maximum(best, scores)
    background = (1 - best) ** exponent
    labels[background >= best] = 0
    return labels.numpy(), torch.maximum(background, best).numpy()
