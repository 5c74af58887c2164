"""The two towers of an open_clip model taken apart, as class activation maps and learned prompts need them.

The image tower takes any size and hands out what enters its last block, so that gradients need only that block; the
text tower starts from token embeddings, so that some of them can be learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock, VisionTransformer
from torch import nn

from ..errors import WsssError

_BLOCKS = (ResidualAttentionBlock, CustomResidualAttentionBlock)


@dataclass(frozen=True)
class Tower:
    """Images after all blocks of the image tower but the last.

    Attributes:
        tokens: float32 (N, L, D), the input of the last block; the class token, then the patches row by row.
        grid: rows h and columns w of patches; L = h * w + 1.
        attention: float32 (N, h * w, h * w) where a record was asked for: mean over the heads and the last blocks,
            queries in rows, without the class token and so without rows that sum to 1.
    """

    tokens: torch.Tensor
    grid: tuple[int, int]
    attention: torch.Tensor | None = None


class ImageTower:
    """An open_clip vision transformer of plain blocks.

    Raises:
        WsssError: another kind of image tower, which has no patch tokens that share a space with texts.
    """

    def __init__(self, visual: Any, name: str):
        plain = isinstance(visual, VisionTransformer) and visual.attn_pool is None
        if not plain or not _all_plain(visual.transformer.resblocks):
            raise WsssError(
                f"{name}: its image tower ({type(visual).__name__}) is not a plain vision transformer of open_clip; "
                "clip-sams needs one, for example ViT-B-16-quickgelu:openai"
            )
        height, width = visual.patch_size
        if height != width:
            raise WsssError(f"{name}: patches of {width} x {height} pixels; clip-sams needs a CLIP with square patches")
        self.visual = visual
        self.patch_size = int(height)
        self.blocks = visual.transformer.resblocks

    def positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """The position embedding on a grid of h x w patches, float32 (h * w + 1, D).

        The class token's row stays; the patches' rows are resampled bilinearly (half-pixel centres), or taken as they
        are on the native grid (A1.4). The parameter itself is not touched.
        """
        table = self.visual.positional_embedding
        native = tuple(self.visual.grid_size)
        if grid == native:
            return table
        patches = table[1:].view(1, *native, -1).permute(0, 3, 1, 2)
        resampled = F.interpolate(patches, grid, mode="bilinear", align_corners=False)
        return torch.cat([table[:1], resampled.flatten(2).transpose(1, 2)[0]])

    def forward(self, pixels: torch.Tensor, record: int = 0) -> Tower:
        """All blocks but the last.

        Args:
            pixels: float (N, 3, H, W), normalised; sides are multiples of the patch size.
            record: over how many of the last blocks, the very last included, to average the attention.

        Raises:
            ValueError: sides that the patches do not tile.
        """
        rows, row_rest = divmod(pixels.shape[-2], self.patch_size)
        columns, column_rest = divmod(pixels.shape[-1], self.patch_size)
        if row_rest or column_rest or not rows * columns:
            raise ValueError(f"sides must be multiples of {self.patch_size}, not {tuple(pixels.shape[-2:])}")
        visual = self.visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = visual.ln_pre(torch.cat([first, patches], 1) + self.positions((rows, columns)))
        recorded = min(record, len(self.blocks))
        for block in self.blocks[: min(len(self.blocks) - recorded, len(self.blocks) - 1)]:
            x = block(x)
        if not recorded:
            return Tower(x.float(), (rows, columns))
        share = torch.zeros(len(x), x.shape[1], x.shape[1], device=x.device)
        for block in self.blocks[-recorded:-1]:
            x = _finish(block, x, _attend_recording(block.attn, block.ln_1(x), share))
        last = self.blocks[-1]
        _record(*_heads(last.attn, last.ln_1(x))[:2], share)
        heads = sum(_heads_of(block.attn) for block in self.blocks[-recorded:])
        return Tower(x.float(), (rows, columns), share[:, 1:, 1:] / heads)

    def activations(self, tower: Tower) -> torch.Tensor:
        """A, the output of the last block's first LayerNorm, float32 (N, L, D): what Grad-CAM weighs (A1.5)."""
        return self.blocks[-1].ln_1(tower.tokens)

    def features(self, tower: Tower, activations: torch.Tensor | None = None) -> torch.Tensor:
        """Image features of unit length, float32 (N, D): ``ln_post`` of the patch tokens, averaged, projected (A1.5).

        Not CLIP's own class-token feature. The residual stream of the last block is a constant: gradients reach
        ``activations`` through the block's attention alone. That is written out in plain operations, for fused kernels
        have no second derivative (T8).
        """
        last, visual = self.blocks[-1], self.visual
        if activations is None:
            activations = self.activations(tower)
        x = _finish(last, tower.tokens, _attend(last.attn, activations))
        mean = visual.ln_post(x[:, 1:]).mean(1)
        return F.normalize(mean if visual.proj is None else mean @ visual.proj, dim=-1)


class TextTower:
    """open_clip's causal text transformer, from token embeddings on.

    Raises:
        WsssError: a text tower of another library, or one whose sentence feature is not read at the end token.
    """

    def __init__(self, model: Any, name: str):
        text = getattr(model, "text", model)
        pool = getattr(text, "pool_type", None) or getattr(model, "text_pool_type", None)
        causal = getattr(text, "attn_mask", None) is not None
        if pool not in ("argmax", "eos") or not causal or getattr(text, "cls_emb", None) is not None:
            raise WsssError(
                f"{name}: its text tower does not read a sentence at its end token as CLIP's does; learned prompts "
                "need one that does, for example ViT-B-16-quickgelu:openai"
            )
        self.text = text
        self.table: nn.Embedding = text.token_embedding

    def features(self, embeddings: torch.Tensor, eos: torch.Tensor) -> torch.Tensor:
        """Sentence features of unit length, float32 (G, D), differentiable in the embeddings.

        The positions' embedding is added here. What follows the last end token cannot matter under the causal mask and
        is not computed.

        Args:
            embeddings: float (G, T, Dt) of all tokens in their final order.
            eos: int64 (G,) places of the end tokens.
        """
        text = self.text
        length = int(eos.max()) + 1
        x = embeddings[:, :length] + text.positional_embedding[:length]
        x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
        x = text.ln_final(x[torch.arange(len(x), device=x.device), eos])
        if isinstance(text.text_projection, nn.Linear):
            x = text.text_projection(x)
        elif text.text_projection is not None:
            x = x @ text.text_projection
        return F.normalize(x.float(), dim=-1)


def _all_plain(blocks: Sequence[nn.Module]) -> bool:
    """Whether attention is of the forms that ``_heads`` knows."""
    return all(isinstance(b, _BLOCKS) and getattr(b.attn, "logit_scale", None) is None for b in blocks)


def _heads_of(attention: Any) -> int:
    return int(attention.num_heads)


def _heads(attention: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries (scaled), keys and values of all heads, each (N, heads, L, d)."""
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    n, length, _ = x.shape
    q, k, v = projected.view(n, length, 3, _heads_of(attention), -1).permute(2, 0, 3, 1, 4)
    if not isinstance(attention, nn.MultiheadAttention):  # open_clip's own, with optional norms of queries and keys
        q, k = attention.ln_q(q), attention.ln_k(k)
    return q * q.shape[-1] ** -0.5, k, v


def _join(attention: Any, heads: torch.Tensor) -> torch.Tensor:
    """The attention's output (N, L, D) from that of its heads (N, heads, L, d)."""
    if getattr(attention, "head_scale", None) is not None:
        heads = heads * attention.head_scale
    joined = heads.transpose(1, 2).flatten(2)
    if not isinstance(attention, nn.MultiheadAttention):
        joined = attention.ln_inner(joined)
    return attention.out_proj(joined)


def _attend(attention: Any, x: torch.Tensor) -> torch.Tensor:
    """Self-attention in plain operations."""
    q, k, v = _heads(attention, x)
    return _join(attention, (q @ k.transpose(-1, -2)).softmax(-1) @ v)


def _attend_recording(attention: Any, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Self-attention that adds each head's weights to ``share`` (N, L, L); no two heads' weights are held at once."""
    q, k, v = _heads(attention, x)
    return _join(attention, torch.stack([w @ v[:, i] for i, w in enumerate(_weights(q, k, share))], 1))


def _record(q: torch.Tensor, k: torch.Tensor, share: torch.Tensor) -> None:
    for _ in _weights(q, k, share):
        pass


def _weights(q: torch.Tensor, k: torch.Tensor, share: torch.Tensor) -> Iterator[torch.Tensor]:
    """The attention weights (N, L, L) head by head, each added to ``share``."""
    for i in range(q.shape[1]):
        weights = (q[:, i] @ k[:, i].transpose(-1, -2)).softmax(-1)
        share += weights
        yield weights


def _finish(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """The rest of a residual block after its attention."""
    x = x + block.ls_1(getattr(block, "ln_attn", nn.Identity())(attended))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
