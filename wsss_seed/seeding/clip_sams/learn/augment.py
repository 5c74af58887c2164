"""Augmentation of an image and its seed together (A2.3), by torchvision's transforms v2 on dice of one's own.

torchvision's random transforms draw from torch's global generator; a crop that must be the same after a resumed run
and in any thread needs its own dice, so the draws are here and the arithmetic is torchvision's functions.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from .settings import PromptAugmentSettings

_BRIGHTNESS, _HUE = 25, 25 / 255  # on the scales 0..255 and 0..1
_CONTRAST, _SATURATION = (0.6, 1.4), (0.5, 1.5)


def augment(
    image: np.ndarray, seed: np.ndarray | None, settings: PromptAugmentSettings, dice: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A random crop: colours changed, rescaled, cut and perhaps mirrored (A2.3, in this order).

    Args:
        image: uint8 (H, W, 3) RGB.
        seed: uint8 (H, W) label map, treated alike (nearest neighbour), or None.
        settings: ranges.
        dice: the only source of chance.

    Returns:
        uint8 (3, crop, crop) and, where there is a seed, uint8 (crop, crop).
    """
    picture = Image.fromarray(_jitter(image, settings.color_jitter_prob, dice))
    height, width = target_size(image.shape[:2], settings, dice)
    side = settings.crop_size
    pixels = F.pil_to_tensor(F.resize(picture, [height, width], InterpolationMode.BICUBIC))
    labels = None if seed is None else tv_tensors.Mask(torch.from_numpy(seed))
    if labels is not None:
        labels = F.resize(labels, [height, width], InterpolationMode.NEAREST)
    top, left = int(dice.integers(height - side + 1)), int(dice.integers(width - side + 1))
    mirrored = dice.random() < settings.flip_prob
    out: list[torch.Tensor | None] = []
    for part in (tv_tensors.Image(pixels), labels):
        if part is not None:
            part = F.crop(part, top, left, side, side)
            part = F.horizontal_flip(part) if mirrored else part
            part = part.as_subclass(torch.Tensor).contiguous()
        out.append(part)
    assert out[0] is not None
    return out[0], out[1]


def target_size(shape: tuple[int, int], settings: PromptAugmentSettings, dice: np.random.Generator) -> tuple[int, int]:
    """Height and width to which an image of ``shape`` is rescaled: its long side becomes a whole number drawn from the
    range, or larger where the short side would be shorter than the crop."""
    shortest, longest = settings.longest_edge_range
    target = int(dice.integers(shortest, longest, endpoint=True))
    scale = max(target / max(shape), settings.crop_size / min(shape))
    height, width = (max(settings.crop_size, round(side * scale)) for side in shape)
    return height, width


def _jitter(image: np.ndarray, chance: float, dice: np.random.Generator) -> np.ndarray:
    """Four changes of colour in random order, each with probability ``chance``, rounded to uint8 after each.

    Brightness adds up to 25; contrast multiplies by 0.6..1.4; saturation (of HSV) by 0.5..1.5; hue turns by up to 25
    on a wheel of 255.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    for change in dice.permutation(4):
        if dice.random() >= chance:
            continue
        if change == 0:
            pixels = _rounded(pixels.float() + dice.uniform(-_BRIGHTNESS, _BRIGHTNESS))
        elif change == 1:
            pixels = _rounded(pixels.float() * dice.uniform(*_CONTRAST))
        elif change == 2:
            pixels = _saturate(pixels, dice.uniform(*_SATURATION))
        else:
            pixels = F.adjust_hue(pixels, dice.uniform(-_HUE, _HUE))
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _saturate(pixels: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply the saturation of HSV, at most to 1; hue and value stay. ``F.adjust_saturation`` would mix with grey
    instead, which changes the value."""
    values = pixels.float()
    value, least = values.amax(0), values.amin(0)
    saturation = (value - least) / value.clamp(min=1)
    factors = torch.minimum(torch.full_like(saturation, factor), 1 / saturation.clamp(min=1e-6))
    return _rounded(value - (value - values) * factors)


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
