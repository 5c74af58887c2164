"""SAM's image encoder with fused attention: same weights and results as the library, without its large attention maps.

The library materialises the attention between all patches for all heads, three times 0.8 GB for ViT-B. Here only the
bias of the relative positions is materialised, a few heads at a time; the rest is torch's fused kernel.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch.nn import functional as F

# Elements of the bias in memory at a time; at least one head's.
_BIAS = {"cpu": 2**24, "cuda": 2**28}


class FusedAttention(Attention):  # type: ignore[misc]  # segment_anything has no annotations
    """Drop-in replacement for the library's attention, equal up to rounding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Self-attention of windows (B, H, W, C)."""
        batch, height, width, _ = x.shape
        size = height * width
        q, k, v = self.qkv(x).view(batch, size, 3, self.num_heads, -1).permute(2, 3, 0, 1, 4)  # (heads, B, HW, d)
        if not self.use_rel_pos:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            rows, columns = get_rel_pos(height, height, self.rel_pos_h), get_rel_pos(width, width, self.rel_pos_w)
            step = max(1, _BIAS.get(x.device.type, 2**24) // (batch * size * size))
            parts = []
            for heads in (slice(i, i + step) for i in range(0, self.num_heads, step)):
                grid = q[heads].unflatten(2, (height, width))
                down = torch.einsum("nbhwc,hkc->nbhwk", grid, rows)[..., None]
                across = torch.einsum("nbhwc,wkc->nbhwk", grid, columns)[..., None, :]
                bias = (down + across).flatten(-2).flatten(2, 3)
                parts.append(F.scaled_dot_product_attention(q[heads], k[heads], v[heads], attn_mask=bias))
            mixed = torch.cat(parts)
        result: torch.Tensor = self.proj(mixed.permute(1, 2, 0, 3).reshape(batch, height, width, -1))
        return result


def fuse_attention(encoder: ImageEncoderViT) -> None:
    """Make an image encoder use ``FusedAttention``. Its weights and their names do not change."""
    for block in encoder.blocks:
        block.attn.__class__ = FusedAttention
