"""Augmentation of an image and its seed together, as in FMA-WSSS's released code (arXiv 2312.03585).

torchvision's random transforms draw from torch's global generator. A crop must be the same after a resume and in any
thread, so random numbers are drawn here, from the generator of the crop, and passed to torchvision's functionals.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from .settings import PromptAugmentSettings

_BRIGHTNESS, _HUE = 25, 25 / 255  # of 255, and of 1
_CONTRAST, _SATURATION = (0.6, 1.4), (0.5, 1.5)


def augment(
    image: np.ndarray, label_map: np.ndarray | None, settings: PromptAugmentSettings, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A random crop: colours changed, rescaled, cut and perhaps mirrored, in this order.

    Args:
        image: uint8 (H, W, 3) RGB.
        label_map: uint8 (H, W), transformed alike (nearest neighbour), or None.
        settings: augmentation settings.
        rng: the only source of randomness.

    Returns:
        Crops of image uint8 (3, crop_size, crop_size) and label map uint8 (crop_size, crop_size) or None.
    """
    jittered = Image.fromarray(_jitter(image, settings.color_jitter_prob, rng))
    height, width = target_size(image.shape[:2], settings, rng)
    side = settings.crop_size
    pixels = F.pil_to_tensor(F.resize(jittered, [height, width], InterpolationMode.BICUBIC))
    labels = None if label_map is None else tv_tensors.Mask(torch.from_numpy(label_map))
    if labels is not None:
        labels = F.resize(labels, [height, width], InterpolationMode.NEAREST)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    flipped = rng.random() < settings.flip_prob
    out: list[torch.Tensor | None] = []
    for part in (tv_tensors.Image(pixels), labels):
        if part is not None:
            part = F.crop(part, top, left, side, side)
            part = F.horizontal_flip(part) if flipped else part
            part = part.as_subclass(torch.Tensor).contiguous()
        out.append(part)
    assert out[0] is not None
    return out[0], out[1]


def target_size(shape: tuple[int, int], settings: PromptAugmentSettings, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width to which an image of ``shape`` is resized: its longer side becomes an integer drawn from the
    range, or larger where the shorter side would be shorter than the crop."""
    shortest, longest = settings.longest_edge_range
    target = int(rng.integers(shortest, longest, endpoint=True))
    scale = max(target / max(shape), settings.crop_size / min(shape))
    height, width = (max(settings.crop_size, round(side * scale)) for side in shape)
    return height, width


def _jitter(image: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Four colour changes in random order, each applied with the given probability and rounded to uint8.

    Brightness adds up to 25; contrast multiplies by 0.6..1.4; saturation (of HSV) by 0.5..1.5; hue is shifted by up
    to 25 of 255.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    for change in rng.permutation(4):
        if rng.random() >= probability:
            continue
        if change == 0:
            pixels = _rounded(pixels.float() + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS))
        elif change == 1:
            pixels = _rounded(pixels.float() * rng.uniform(*_CONTRAST))
        elif change == 2:
            pixels = _saturate(pixels, rng.uniform(*_SATURATION))
        else:
            pixels = F.adjust_hue(pixels, rng.uniform(-_HUE, _HUE))
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _saturate(pixels: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply the saturation of HSV, clipped to 1, keeping hue and value. ``F.adjust_saturation`` would blend with
    grey instead, which changes the value."""
    values = pixels.float()
    value, least = values.amax(0), values.amin(0)
    saturation = (value - least) / value.clamp(min=1)
    factors = torch.minimum(torch.full_like(saturation, factor), 1 / saturation.clamp(min=1e-6))
    return _rounded(value - (value - values) * factors)


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
