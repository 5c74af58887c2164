"""SAM's mask decoder for many single points of one image: same weights and results as the library, fewer operations.

A grid of points runs the decoder a thousand times on the same image, mostly for masks that are then discarded. Four
optimizations, none of which changes a result by more than rounding:

- what does not depend on the point is computed once: all projections of the image before the first cross-attention to
  it, and those of its positions in all layers;
- the projections of the other layers are applied to the few tokens of a point instead of the many of the image:
  (q W_q) (W_k x) = (W_k' W_q q) x, a product with fewer rows;
- the predicted IoU is known before the masks are computed, so only the selected masks are;
- on a CPU few points are decoded together, so that their images stay in its cache.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from .precision import AdaptiveBatch

# float32 elements of images decoded together, on a CPU per thread, few enough to stay in its cache.
_IMAGE_ELEMENTS = {"cpu": 2**21, "cuda": 2**28}
# float32 elements of masks computed together, for the same reason.
_MASK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}


class SamPointMasks:
    """Decoded masks of n points, three per point: sub-part, part and whole.

    Attributes:
        iou: float32 (n, 3) predicted IoU of each mask.
    """

    def __init__(self, model: Sam, tokens: Tensor, image: Tensor, batches: AdaptiveBatch):
        decoder = model.mask_decoder
        self.iou: Tensor = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        self._image, self._batches = image, batches
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

        def decode(part: Tensor) -> Tensor:
            x = F.linear(self._image[part], w1, b1).unflatten(-1, (4, -1))
            x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
            x = last_act(F.linear(x, w2, b2)).view(len(part), h * w * 16, second.out_channels)
            masks = (self._kernels[part] @ x.mT)[chosen[part]]
            # Each token became 2 x 2 pixels and each of these 2 x 2 again.
            masks = masks.unflatten(1, (h, w, 2, 2, 2, 2)).permute(0, 1, 3, 5, 2, 4, 6)
            painted: Tensor = masks.reshape(len(masks), 4 * h, 4 * w)
            return painted

        empty = torch.empty(0, 4 * h, 4 * w, device=self.iou.device)
        return torch.cat([empty, *self._batches.map(decode, points, step)])


class PointDecoder:
    """Decodes points of an image independently.

    Args:
        model: segment_anything's model.
        features: float32 (1, C, h, w), the encoded image.

    Attributes:
        batch_size: points to decode together at most.
    """

    def __init__(self, model: Sam, features: Tensor):
        prompt, transformer = model.prompt_encoder, model.mask_decoder.transformer
        self._model, self._masks = model, AdaptiveBatch("masks for SAM")
        self._image = (features + prompt.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).mT.contiguous()
        positions = prompt.get_dense_pe().flatten(2).mT[0]
        self._reading, self._writing = [], []
        for i, block in enumerate(transformer.layers):
            same = positions if i else self._image[0] + positions
            reading, writing = block.cross_attn_token_to_image, block.cross_attn_image_to_token
            self._reading.append(_projected(reading, reading.k_proj, same))
            self._writing.append(_projected(writing, writing.q_proj, same))
        last, first = transformer.final_attn_token_to_image, transformer.layers[0].cross_attn_token_to_image
        self._reading.append(_projected(last, last.k_proj, positions))
        values = _projected(first, first.v_proj, self._image[0])
        self._keys, self._values = (x.mT.contiguous()[None] for x in (self._reading[0], values))
        threads = torch.get_num_threads() if features.device.type == "cpu" else 1
        self.batch_size = max(1, int(_IMAGE_ELEMENTS[features.device.type] * threads) // features.numel())

    def __call__(self, points: Tensor) -> SamPointMasks:
        """Masks of points (n, 2) x y, in pixels of the model's input."""
        prompt, decoder = self._model.prompt_encoder, self._model.mask_decoder
        # As prompt_encoder does, which waits for the device to look for other labels than that of the foreground.
        placed = prompt.pe_layer.forward_with_coords(points[:, None] + 0.5, prompt.input_image_size)
        point, padding = placed + prompt.point_embeddings[1].weight, prompt.not_a_point_embed.weight
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([x.expand(len(points), -1, -1) for x in (output, point, padding)], 1)
        queries, image = tokens, None
        for block, reading, writing in zip(decoder.transformer.layers, self._reading, self._writing, strict=False):
            if block.skip_first_layer_pe:
                queries = block.self_attn(queries, queries, queries)
            else:
                placed = queries + tokens
                queries = queries + block.self_attn(placed, placed, queries)
            queries = block.norm1(queries)
            read = self._read(block.cross_attn_token_to_image, reading, queries + tokens, image)
            queries = block.norm2(queries + read)
            queries = block.norm3(queries + block.mlp(queries))
            image = self._write(block.cross_attn_image_to_token, writing, image, queries + tokens, queries)
            image = block.norm4(image)
        assert image is not None  # for mypy: SAM has two blocks
        last = decoder.transformer.final_attn_token_to_image
        read = self._read(last, self._reading[-1], queries + tokens, image)
        return SamPointMasks(self._model, decoder.transformer.norm_final_attn(queries + read), image, self._masks)

    def _read(self, attention: Attention, same: Tensor, queries: Tensor, image: Tensor | None) -> Tensor:
        """Tokens attend to the image: (n, T, C). ``image`` is None where it is the same for all points."""
        q = _heads(attention, attention.q_proj(queries))
        if image is None:
            found = F.scaled_dot_product_attention(q.flatten(1, 2)[None], self._keys, self._values).view(q.shape)
        else:
            weights = _scores(q, same, attention.k_proj.weight, image).softmax(-1)
            pooled = (weights @ image).unflatten(1, (len(q), -1)).transpose(0, 1)
            values = attention.v_proj
            found = pooled.flatten(1, 2) @ values.weight.unflatten(0, (len(q), -1)).mT
            found = found.view(q.shape) + values.bias.view(len(q), 1, 1, -1)
        result: Tensor = attention.out_proj(found.permute(1, 2, 0, 3).flatten(2))
        return result

    def _write(
        self, attention: Attention, same: Tensor, image: Tensor | None, queries: Tensor, values: Tensor
    ) -> Tensor:
        """The image attends to the tokens, plus the residual: (n, HW, C). Overwrites ``image``."""
        k, v = _heads(attention, attention.k_proj(queries)), _heads(attention, attention.v_proj(values))
        scores = _scores(k, same, attention.q_proj.weight, image)
        weights = scores.unflatten(1, (len(k), -1)).softmax(2).flatten(1, 2)
        found = _by_point(v.flatten(1, 2) @ attention.out_proj.weight.T.unflatten(0, (len(v), -1)), len(values))
        found = found + attention.out_proj.bias / len(v)  # the weights of a head sum to 1
        if image is None:
            return torch.baddbmm(self._image, weights.mT, found)
        return image.baddbmm_(weights.mT, found)


def _scores(tokens: Tensor, same: Tensor, weight: Tensor, image: Tensor | None) -> Tensor:
    """Scaled scores (n, heads T, HW) of projected tokens (heads, n, T, d) and the image.

    Args:
        tokens: the tokens.
        same: (heads, d, HW), the projection of what is the same for all points.
        weight: (heads d, C), the projection of the image.
        image: (n, HW, C), what differs between points; None for nothing.
    """
    heads, points, _, width = tokens.shape
    few = tokens.flatten(1, 2) * width**-0.5
    scores = _by_point(few @ same, points)
    if image is None:
        return scores
    return scores.baddbmm_(_by_point(few @ weight.unflatten(0, (heads, width)), points), image.mT)


def _by_point(x: Tensor, points: int) -> Tensor:
    """(heads, n T, C) as (n, heads T, C), a copy."""
    result: Tensor = x.unflatten(1, (points, -1)).transpose(0, 1).reshape(points, -1, x.shape[-1])
    return result


def _heads(attention: Attention, x: Tensor) -> Tensor:
    """(n, T, heads d) as (heads, n, T, d)."""
    result: Tensor = x.unflatten(-1, (attention.num_heads, -1)).permute(2, 0, 1, 3)
    return result


def _projected(attention: Attention, layer: nn.Linear, x: Tensor) -> Tensor:
    """A projection of an image (HW, C): (heads, d, HW)."""
    result: Tensor = layer(x).T.contiguous().unflatten(0, (attention.num_heads, -1))
    return result


def _transposed(layer: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A transposed convolution of 2 x 2 and stride 2 as a matrix (4 out, in) and its bias."""
    assert layer.bias is not None  # for mypy: SAM's have one
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2), layer.bias.repeat(4)
