"""The two towers of an open_clip model in parts, for class activation maps and learned prompts.

The image tower supports any input size and returns the input of its last block, so that gradients need only that block;
the text tower starts from token embeddings, so that some of them can be learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

from ..errors import CheckpointError


@dataclass(frozen=True)
class Tower:
    """Images after all blocks of the image tower except the last.

    Attributes:
        tokens: float32 (N, L, D), the input of the last block: class token, then patches in row-major order.
        grid: rows h and columns w of patches; L = h * w + 1.
        attention: float32 (N, h * w, h * w) attention averaged over heads and last blocks if requested, queries in
            rows, without the class token, so rows do not sum to 1.
    """

    tokens: torch.Tensor
    grid: tuple[int, int]
    attention: torch.Tensor | None = None


@dataclass(frozen=True)
class Patches:
    """What each patch shows by itself, and what the patches attend to, as TagCLIP reads them (arXiv 2312.12828).

    Attributes:
        features: float32 (N, h * w, D) of unit length, in the space of the texts, in row-major order.
        attention: float32 (N, h * w, h * w), queries in rows, without the class token: mean over heads and over the
            quarter of the blocks before the last, 0 where fewer than a third of all blocks attend more than on average.
        grid: rows h and columns w of patches.
    """

    features: torch.Tensor
    attention: torch.Tensor
    grid: tuple[int, int]


class ImageTower:
    """An open_clip vision transformer with plain blocks.

    Raises:
        WsssError: another kind of image tower, whose patch tokens do not share a space with texts.
    """

    def __init__(self, visual: Any, name: str):
        plain = isinstance(visual, VisionTransformer) and visual.attn_pool is None
        if not plain or not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
            raise CheckpointError(
                f"{name}: its image tower ({type(visual).__name__}) is not a plain vision transformer of open_clip; "
                "clip-sams and clip.scores = patches need one, for example ViT-B-16-quickgelu:openai"
            )
        height, width = visual.patch_size
        if height != width:
            raise CheckpointError(
                f"{name}: patches of {width} x {height} pixels; clip-sams and clip.scores = patches need square ones"
            )
        self.visual = visual
        self.patch_size = int(height)
        self.blocks = visual.transformer.resblocks

    def positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """The position embedding on a grid of h x w patches, float32 (h * w + 1, D).

        The row of the class token is kept; those of the patches are resampled bilinearly (half-pixel centres), or kept
        on the native grid. The parameter itself is not modified.
        """
        table = self.visual.positional_embedding
        native = tuple(self.visual.grid_size)
        if grid == native:
            result: torch.Tensor = table
            return result
        patches = table[1:].view(1, *native, -1).permute(0, 3, 1, 2)
        resampled = F.interpolate(patches, grid, mode="bilinear", align_corners=False)
        return torch.cat([table[:1], resampled.flatten(2).transpose(1, 2)[0]])

    def forward(self, pixels: torch.Tensor, attention_blocks: int = 0) -> Tower:
        """All blocks except the last.

        Args:
            pixels: float (N, 3, H, W), normalised; sides are multiples of the patch size.
            attention_blocks: number of last blocks, the very last included, over which to average attention.

        Raises:
            ValueError: sides that are not multiples of the patch size.
        """
        x, (rows, columns) = self._embed(pixels)
        attending = min(attention_blocks, len(self.blocks))
        for block in self.blocks[: min(len(self.blocks) - attending, len(self.blocks) - 1)]:
            x = block(x)
        if not attending:
            return Tower(x.float(), (rows, columns))
        total = torch.zeros(len(x), x.shape[1], x.shape[1], device=x.device)
        for block in self.blocks[-attending:-1]:
            x = _finish(block, x, _attend(block.attn, block.ln_1(x), total))
        last = self.blocks[-1]
        q, k, _ = _heads(last.attn, last.ln_1(x))
        for _ in _weights(q, k, total):
            pass
        return Tower(x.float(), (rows, columns), total[:, 1:, 1:] / (attending * last.attn.num_heads))

    def _embed(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """The input of the first block, (N, L, D), and the grid. Raises ValueError as ``forward`` does."""
        rows, row_rest = divmod(pixels.shape[-2], self.patch_size)
        columns, column_rest = divmod(pixels.shape[-1], self.patch_size)
        if row_rest or column_rest or not rows * columns:
            raise ValueError(f"sides must be multiples of {self.patch_size}, not {tuple(pixels.shape[-2:])}")
        visual = self.visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return visual.ln_pre(torch.cat([first, patches], 1) + self.positions((rows, columns))), (rows, columns)

    def patches(self, pixels: torch.Tensor) -> Patches:
        """Features of the patches and attention between them.

        In the last block each token attends to itself only, which keeps the patches apart; its other parts are kept. A
        pair of patches counts where at least a third of the blocks give it more than their mean weight (4 of the 12 of
        ViT-B in TagCLIP's code, the last block counting as attention of each patch to itself).

        Args:
            pixels: float (N, 3, H, W), normalised; sides are multiples of the patch size.

        Raises:
            ValueError: sides that are not multiples of the patch size.
        """
        x, grid = self._embed(pixels)
        depth, length = len(self.blocks), x.shape[1]
        votes = torch.eye(length - 1, device=x.device).repeat(len(x), 1, 1)
        attention = torch.zeros_like(votes)
        late = max(1, depth // 4)
        for i, block in enumerate(self.blocks[:-1]):
            total = torch.zeros(len(x), length, length, device=x.device)
            x = _finish(block, x, _attend(block.attn, block.ln_1(x), total))
            weights = total[:, 1:, 1:] / block.attn.num_heads
            votes += weights > weights.mean((1, 2), keepdim=True)
            if i >= depth - 1 - late:
                attention += weights / late
        last = self.blocks[-1]
        _, _, values = _heads(last.attn, last.ln_1(x))
        x = _finish(last, x, last.attn.out_proj(values.transpose(1, 2).flatten(2)))
        features = F.normalize((self.visual.ln_post(x[:, 1:]) @ self.visual.proj).float(), dim=-1)
        return Patches(features, attention * (votes >= depth / 3), grid)

    def features(self, tower: Tower) -> torch.Tensor:
        """Image features of unit length, float32 (N, D): ``ln_post`` of the patch tokens, averaged, projected.

        Unlike CLIP's own feature, which uses the class token.
        """
        return self.pooled(self.blocks[-1](tower.tokens)[:, 1:])

    def pooled(self, patches: torch.Tensor) -> torch.Tensor:
        """Features of unit length, (N, D), from the last block's patch tokens (N, L - 1, D)."""
        mean = self.visual.ln_post(patches).mean(1)
        return F.normalize(mean @ self.visual.proj, dim=-1)


class LastBlock:
    """The last block of the image tower, split at its attention, for Grad-CAM.

    Between A, the output of the block's first LayerNorm, and the features are attention, whose gradient is implemented
    here, and the rest of the block, which is left to autograd: with K cotangents the (L, L) attention weights are read
    K times and never copied, and the second derivative that prompt learning needs is an ordinary first derivative,
    because the gradient implemented here is linear in the cotangents. The residual stream is treated as a constant:
    gradients reach A through attention only.

    Attributes:
        activations: A, float32 (N, L, D), class token first.
        mixed: float32 (N, heads, L - 1, d), output of attention at each patch, per head.
    """

    def __init__(self, tower: ImageTower, tokens: Tower):
        self._tower, self._block, self._residual = tower, tower.blocks[-1], tokens.tokens[:, 1:]
        self.activations = self._block.ln_1(tokens.tokens)
        self._q, self._k, self._v = _heads(self._block.attn, self.activations)
        self._q = self._q[:, :, 1:]
        self._weights = (self._q @ self._k.transpose(-1, -2)).softmax(-1)
        self.mixed = self._weights @ self._v

    def features(self, mixed: torch.Tensor) -> torch.Tensor:
        """The features (N, D) of unit length as a function of ``mixed``."""
        attended = self._block.attn.out_proj(mixed.transpose(1, 2).flatten(2))
        return self._tower.pooled(_finish(self._block, self._residual, attended))

    def mean_gradient(self, cotangents: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to A, averaged over the patches, float32 (K, N, D).

        The rows of the gradient of a softmax sum to 0, which leaves one product with the attention weights per
        cotangent.

        Args:
            cotangents: (K, N, heads, L - 1, d), with respect to ``mixed``.
        """
        q, k, v, weights = self._q, self._k, self._v, self._weights
        first = weights[..., :1]  # attention of each patch to the class token
        along = (cotangents * self.mixed).sum(-1, keepdim=True)
        received = weights.transpose(-1, -2) @ cotangents
        of_first = first * ((cotangents * v[:, :, :1]).sum(-1, keepdim=True) - along)
        to_q = ((received * v).sum(-1, keepdim=True) * k).sum(-2) - (along * (weights @ k)).sum(-2)
        to_k = -(of_first * q).sum(-2)
        to_v = ((1 - first) * cotangents).sum(-2)
        return self._into_activations(to_q, to_k, to_v) / q.shape[-2]

    def gradient(self, cotangents: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to A at each patch, float32 (K, N, L - 1, D).

        Args:
            cotangents: as for ``mean_gradient``; needs K times the memory of the attention weights.
        """
        q, k, v, weights = self._q, self._k, self._v, self._weights
        along = (cotangents * self.mixed).sum(-1, keepdim=True)
        scores = weights * (cotangents @ v.transpose(-1, -2) - along)
        to_q = scores @ k
        to_k = (scores.transpose(-1, -2) @ q)[..., 1:, :]
        to_v = (weights.transpose(-1, -2) @ cotangents)[..., 1:, :]
        return self._into_activations(*(g.transpose(-2, -3) for g in (to_q, to_k, to_v)))

    def _into_activations(self, to_q: torch.Tensor, to_k: torch.Tensor, to_v: torch.Tensor) -> torch.Tensor:
        """Back-propagate through the projections to queries, keys and values; (..., heads, d) each."""
        gradients = (g.flatten(-2) for g in (to_q * to_q.shape[-1] ** -0.5, to_k, to_v))
        result: torch.Tensor = torch.cat(list(gradients), -1) @ self._block.attn.in_proj_weight
        return result


class TextTower:
    """open_clip's causal text transformer, starting from token embeddings.

    Raises:
        WsssError: a text tower of another library, or one whose feature is not taken at the end token.
    """

    def __init__(self, model: Any, name: str):
        text = getattr(model, "text", model)
        pool = getattr(text, "pool_type", None) or getattr(model, "text_pool_type", None)
        causal = getattr(text, "attn_mask", None) is not None
        if pool not in ("argmax", "eos") or not causal or getattr(text, "cls_emb", None) is not None:
            raise CheckpointError(
                f"{name}: its text tower does not take the feature at the end token as CLIP's does; learned prompts "
                "need one that does, for example ViT-B-16-quickgelu:openai"
            )
        self.text = text
        self.table: nn.Embedding = text.token_embedding

    def features(self, embeddings: torch.Tensor, eos: torch.Tensor) -> torch.Tensor:
        """Sentence features of unit length, float32 (G, D), differentiable in the embeddings.

        The position embedding is added here. Tokens after the last end token have no effect under the causal mask and
        are not computed.

        Args:
            embeddings: float (G, T, Dt) of all tokens in their final order.
            eos: int64 (G,) indices of the end tokens.
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


def _heads(attention: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries (scaled), keys and values of all heads, each (N, heads, L, d)."""
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = projected.view(*x.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    return q * q.shape[-1] ** -0.5, k, v


def _weights(q: torch.Tensor, k: torch.Tensor, total: torch.Tensor) -> Iterator[torch.Tensor]:
    """Attention weights (N, L, L) of each head, added to ``total``; those of one head are in memory at a time."""
    for i in range(q.shape[1]):
        weights = (q[:, i] @ k[:, i].transpose(-1, -2)).softmax(-1)
        total += weights
        yield weights


def _attend(attention: Any, x: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Self-attention (N, L, D) that adds its weights to ``total``."""
    q, k, v = _heads(attention, x)
    mixed = [weights @ v[:, i] for i, weights in enumerate(_weights(q, k, total))]
    result: torch.Tensor = attention.out_proj(torch.cat(mixed, -1))
    return result


def _finish(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """The rest of a residual block after its attention."""
    x = x + block.ls_1(attended)
    result: torch.Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return result
