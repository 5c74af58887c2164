"""SAM's mask decoder for many single points of one image: same weights and results as the library, fewer operations.

A grid of points runs the decoder a thousand times on the same image, mostly for masks that are then discarded. Three
optimizations, none of which changes a result by more than rounding:

- before the first cross-attention the image is the same for all points and is held once;
- the projections of the attention layers are applied to the few tokens of a point instead of the many of the image:
  (q W_q) (W_k x) = (W_k' W_q q) x, a product with fewer rows;
- the predicted IoU is known before the masks are computed, so only the selected masks are.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor
from torch.nn import functional as F

# float32 elements of masks computed together, few enough to stay in the CPU cache.
_MASK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}


class SamPointMasks:
    """Decoded masks of n points, three per point: sub-part, part and whole.

    Attributes:
        iou: float32 (n, 3) predicted IoU of each mask.
    """

    def __init__(self, model: Sam, tokens: Tensor, image: Tensor):
        decoder = model.mask_decoder
        self.iou: Tensor = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        self._image = image
        networks = list(decoder.output_hypernetworks_mlps)[1:]
        self._kernels = torch.stack([network(tokens[:, 2 + i]) for i, network in enumerate(networks)], 1)
        self._upscaling = decoder.output_upscaling
        self._grid = model.prompt_encoder.image_embedding_size

    def low_res(self, chosen: Tensor) -> Tensor:
        """Logits of masks on the decoder's grid.

        Args:
            chosen: bool (n, 3), True for the selected masks.

        Returns:
            float32 (k, h, w), point by point.
        """
        first, norm, act, second, last_act = self._upscaling
        (w1, b1), (w2, b2) = _transposed(first), _transposed(second)
        h, w = self._grid
        points = torch.nonzero(chosen.any(1))[:, 0]
        step = max(1, _MASK_ELEMENTS[self.iou.device.type] // (h * w * 4 * len(w2)))
        masks_of_parts = [torch.empty(0, 4 * h, 4 * w, device=self.iou.device)]
        for part in points.split(step):
            x = F.linear(self._image[part], w1, b1).unflatten(-1, (4, -1))
            x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
            x = last_act(F.linear(x, w2, b2)).view(len(part), h * w * 16, second.out_channels)
            masks = (self._kernels[part] @ x.mT)[chosen[part]]
            # Each token became 2 x 2 pixels and each of these 2 x 2 again.
            masks = masks.unflatten(1, (h, w, 2, 2, 2, 2)).permute(0, 1, 3, 5, 2, 4, 6)
            masks_of_parts.append(masks.reshape(len(masks), 4 * h, 4 * w))
        return torch.cat(masks_of_parts)


def decode_points(model: Sam, features: Tensor, points: Tensor) -> SamPointMasks:
    """Decode points independently.

    Args:
        model: segment_anything's model.
        features: float32 (1, C, h, w), the encoded image.
        points: float32 (n, 2) x y of foreground points, in pixels of the model's input.
    """
    prompt, decoder = model.prompt_encoder, model.mask_decoder
    labels = torch.ones(len(points), 1, device=points.device)
    sparse, _ = prompt(points=(points[:, None], labels), boxes=None, masks=None)
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(points), -1, -1), sparse], 1)
    image = (features + prompt.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).mT
    positions = prompt.get_dense_pe().flatten(2).mT.contiguous()
    transformer = decoder.transformer
    queries = tokens
    for block in transformer.layers:
        queries, image = _block(block, queries, image, tokens, positions)
    read = _read_image(transformer.final_attn_token_to_image, queries + tokens, image + positions, image)
    return SamPointMasks(model, transformer.norm_final_attn(queries + read), image)


def _block(
    block: TwoWayAttentionBlock, queries: Tensor, image: Tensor, tokens: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """One block of the two-way transformer. ``image`` is (1, HW, C) before the first and (n, HW, C) after it."""
    if block.skip_first_layer_pe:
        queries = block.self_attn(queries, queries, queries)
    else:
        placed = queries + tokens
        queries = queries + block.self_attn(placed, placed, queries)
    queries = block.norm1(queries)
    placed_image = image + positions
    queries = queries + _read_image(block.cross_attn_token_to_image, queries + tokens, placed_image, image)
    queries = block.norm2(queries)
    queries = block.norm3(queries + block.mlp(queries))
    image = _write_image(block.cross_attn_image_to_token, image, placed_image, queries + tokens, queries)
    return queries, block.norm4(image)


def _read_image(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Tokens attend to the image: (n, T, C). The bias of the keys cancels in the softmax and is omitted."""
    q = _heads(attention, attention.q_proj(queries))
    wide = torch.einsum("nthd,hdc->nhtc", q, _heads(attention, attention.k_proj.weight.T).permute(1, 2, 0))
    scores = (wide.flatten(1, 2) * q.shape[-1] ** -0.5) @ _shared(keys).mT
    pooled = (scores.softmax(-1) @ _shared(values)).view(wide.shape)
    v = torch.einsum("nhtc,hdc->nthd", pooled, _heads(attention, attention.v_proj.weight.T).permute(1, 2, 0))
    result: Tensor = attention.out_proj(v.flatten(2) + attention.v_proj.bias)
    return result


def _write_image(attention: Attention, image: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The image attends to the tokens, plus the residual: (n, HW, C)."""
    k, v = _heads(attention, attention.k_proj(keys)), _heads(attention, attention.v_proj(values))
    scale = k.shape[-1] ** -0.5
    wide = torch.einsum("nthd,hdc->nhtc", k * scale, _heads(attention, attention.q_proj.weight.T).permute(1, 2, 0))
    offset = torch.einsum("nthd,hd->nht", k * scale, _heads(attention, attention.q_proj.bias))
    scores = wide.flatten(1, 2) @ _shared(queries).mT + offset.flatten(1)[..., None]
    weights = scores.unflatten(1, wide.shape[1:3]).softmax(2).flatten(1, 2)
    found = torch.einsum("nthd,chd->nhtc", v, _heads(attention, attention.out_proj.weight))
    found = found + attention.out_proj.bias / attention.num_heads  # the weights of a head sum to 1
    return torch.baddbmm(image, weights.mT, found.flatten(1, 2))


def _heads(attention: Attention, x: Tensor) -> Tensor:
    result: Tensor = x.unflatten(-1, (attention.num_heads, -1))
    return result


def _shared(x: Tensor) -> Tensor:
    """An image held once as a matrix, for one large product instead of many small ones."""
    return x[0] if len(x) == 1 else x


def _transposed(layer: torch.nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A transposed convolution of 2 x 2 and stride 2 as a matrix (4 out, in) and its bias."""
    assert layer.bias is not None  # for mypy: SAM's have one
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2), layer.bias.repeat(4)
