"""Grounding DINO's forward pass with fewer operations: same weights and results as the library.

groundingdino's own forward pass materialises each sample of its deformable attention, and projects all tokens of an
image to 1024 channels where they meet the text; on a GPU it waits for the device more than a hundred times. What is
done here instead changes no result by more than rounding:

- deformable attention is a weighted sum over rows of a table, torch's ``embedding_bag``;
- where image and text meet, the projections are applied to the few tokens of the text instead of the many of the image:
  (x W_q) (W_k t) = x (W_q W_k t), and their scores are computed once for both directions;
- what is computed token by token is computed for a few tokens at a time, which a CPU keeps in its cache;
- what depends only on the size of an image, or only on a caption, is computed once;
- boxes and scores are computed for the queries that are kept, and only in the last layer of the decoder.

Images of a batch have the same size, so that nothing is padded but captions, whose padding is masked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Tokens of all images of a batch that are processed together, few enough to stay in the CPU cache.
_TOKENS = {"cpu": 2**9, "cuda": 2**18}

# The same for the samples of deformable attention.
_SAMPLES = {"cpu": 2**17, "cuda": 2**28}


class Grid(NamedTuple):
    """What depends only on the size of an image: N tokens, those of all levels of the feature pyramid.

    Attributes:
        shapes: height and width of each level.
        positions: float32 (1, N, C) position encodings, with those of the levels.
        centres: float32 (1, N, 2) x y relative to the image.
        proposals: float32 (1, N, 4) logits of the initial boxes cx cy w h; infinite at the margin of the image.
        inside: bool (1, N, 1), False at the margin of the image.
    """

    shapes: tuple[tuple[int, int], ...]
    positions: Tensor
    centres: Tensor
    proposals: Tensor
    inside: Tensor


class Text(NamedTuple):
    """Encoded captions.

    Attributes:
        features: float32 (B, T, C).
        positions: float32 (B, T, C), the place of each token in its phrase.
        related: bool (B, T, T), whether tokens belong to the same phrase.
        real: bool (B, T), False for padding.
    """

    features: Tensor
    positions: Tensor
    related: Tensor
    real: Tensor


def encode_images(model: Any, nested_tensor: Any, pixels: Tensor) -> list[Tensor]:
    """Feature maps of images, float32 (B, C, h, w) per level.

    Args:
        model: groundingdino's model.
        nested_tensor: its class of images with a mask of padding.
        pixels: float32 (B, 3, H, W), normalised.
    """
    unpadded = torch.zeros(len(pixels), *pixels.shape[2:], dtype=torch.bool, device=pixels.device)
    found = [level.tensors for level in model.backbone[0](nested_tensor(pixels, unpadded)).values()]
    maps = [project(level) for project, level in zip(model.input_proj, found, strict=False)]
    for project in model.input_proj[len(found) :]:
        maps.append(project(found[-1] if len(maps) == len(found) else maps[-1]))
    return maps


def grid_of(model: Any, nested_tensor: Any, maps: Sequence[Tensor]) -> Grid:
    """What depends only on the size of the images of some feature maps."""
    positions, centres, proposals = [], [], []
    for i, (level, embedding) in enumerate(zip(maps, model.transformer.level_embed, strict=True)):
        height, width = level.shape[2:]
        unpadded = torch.zeros(1, height, width, dtype=torch.bool, device=level.device)
        encoding = model.backbone[1](nested_tensor(level[:1], unpadded)).float()
        positions.append(encoding.flatten(2).mT + embedding)
        y, x = ((torch.arange(n, device=level.device) + 0.5) / n for n in (height, width))
        centre = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1).flatten(0, 1)
        centres.append(centre)
        proposals.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2**i)], -1))
    boxes = torch.cat(proposals)[None]
    inside = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
    logits = torch.log(boxes / (1 - boxes)).masked_fill(~inside, math.inf)
    shapes = tuple((level.shape[2], level.shape[3]) for level in maps)
    return Grid(shapes, torch.cat(positions, 1), torch.cat(centres)[None], logits, inside)


def encode_text(model: Any, tokens: Tensor, related: Tensor, position_ids: Tensor) -> Text:
    """A caption.

    Args:
        model: groundingdino's model.
        tokens: int64 (1, T).
        related: bool (1, T, T), see ``Text``.
        position_ids: int64 (1, T), place of each token in its phrase.
    """
    kinds = torch.zeros_like(tokens)
    found = model.bert(
        input_ids=tokens,
        token_type_ids=kinds,
        attention_mask=related,
        position_ids=position_ids,
        return_dict=True,
    )
    features = model.feat_map(found["last_hidden_state"]).float()
    positions = _sine(position_ids.float(), model.transformer.d_model)
    return Text(features, positions, related, torch.ones_like(tokens, dtype=torch.bool))


def padded(texts: Sequence[Text]) -> Text:
    """Captions as a batch. Padding attends to itself only."""
    if len(texts) == 1:
        return texts[0]
    longest = max(text.real.shape[1] for text in texts)

    def grown(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, longest - x.shape[1]))

    related = torch.eye(longest, dtype=torch.bool, device=texts[0].related.device).repeat(len(texts), 1, 1)
    for row, text in zip(related, texts, strict=True):
        row[: text.related.shape[1], : text.related.shape[2]] = text.related[0]
    return Text(
        torch.cat([grown(text.features) for text in texts]),
        torch.cat([grown(text.positions) for text in texts]),
        related,
        torch.cat([F.pad(text.real, (0, longest - text.real.shape[1])) for text in texts]),
    )


def detect(model: Any, maps: Sequence[Tensor], grid: Grid, text: Text) -> tuple[Tensor, Tensor]:
    """The queries of images with their captions.

    Args:
        model: groundingdino's model.
        maps: feature maps of B images.
        grid: of these maps.
        text: B captions.

    Returns:
        Probability of each token, float32 (B, n, T), 0 for padding; and boxes cx cy w h relative to the image,
        float32 (B, n, 4).
    """
    transformer = model.transformer
    image = torch.cat([level.flatten(2).mT for level in maps], 1)
    words, encoder = text.features, transformer.encoder
    for fusion, enhance, layer in zip(encoder.fusion_layers, encoder.text_layers, encoder.layers, strict=True):
        image, words = _fuse(fusion, image, words, text.real)
        placed = words + text.positions
        words = enhance.norm1(words + _attend(enhance.self_attn, placed, placed, words, text.related[:, None]))
        words = enhance.norm2(words + _mlp(enhance, words))
        sampled = _deformable(layer.self_attn, image + grid.positions, grid.centres, image, grid.shapes)
        image = layer.norm1(image + sampled)
        image = layer.norm2(image + _mlp(layer, image))

    memory = transformer.enc_output_norm(transformer.enc_output(image * grid.inside))
    best = _token_logits(memory, words, text.real).amax(-1).topk(transformer.num_queries, 1).indices[..., None]
    start = grid.proposals.expand(len(memory), -1, -1).gather(1, best.expand(-1, -1, 4))
    start = start + transformer.enc_out_bbox_embed(memory.gather(1, best.expand(-1, -1, memory.shape[-1])))
    queries = transformer.tgt_embed.weight.expand(len(memory), -1, -1)
    return _decode(model, queries, start, image, words, grid, text.real)


def _decode(
    model: Any, queries: Tensor, start: Tensor, image: Tensor, words: Tensor, grid: Grid, real: Tensor
) -> tuple[Tensor, Tensor]:
    """The decoder: ``detect``'s result from queries (B, n, C) and the logits of their boxes (B, n, 4)."""
    decoder = model.transformer.decoder
    boxes = start.float().sigmoid()
    for i, layer in enumerate(decoder.layers):
        x, y, w, h = boxes.unbind(-1)
        places = decoder.ref_point_head(
            _sine(torch.stack([y, x, w, h], -1), model.transformer.d_model // 2).flatten(-2)
        )
        placed = queries + places
        queries = layer.norm2(queries + _attend(layer.self_attn, placed, placed, queries))
        read = _attend(layer.ca_text, queries + places, words, words, real[:, None, None])
        queries = layer.catext_norm(queries + read)
        sampled = _deformable(layer.cross_attn, queries + places, boxes, image, grid.shapes)
        queries = layer.norm1(queries + sampled)
        queries = layer.norm3(queries + _mlp(layer, queries))
        final = i == len(decoder.layers) - 1
        last = decoder.norm(queries) if final else queries
        boxes = (model.bbox_embed[i](last).float() + _logit(boxes)).sigmoid()
    return _token_logits(last, words, real).float().sigmoid(), boxes


def _fuse(layer: Any, image: Tensor, text: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Image (B, N, C) and text (B, T, C) attend to each other."""
    attention = layer.attn
    heads = (attention.num_heads, attention.head_dim)
    image, text = layer.layer_norm_v(image), layer.layer_norm_l(text)

    keys = attention.l_proj(text).unflatten(-1, heads) * attention.head_dim**-0.5
    wide = torch.einsum("bthd,hdc->bhtc", keys, attention.v_proj.weight.unflatten(0, heads)).flatten(1, 2).mT
    offset = torch.einsum("bthd,hd->bht", keys, attention.v_proj.bias.unflatten(0, heads)).flatten(1)[:, None]
    values = attention.values_l_proj(text).unflatten(-1, heads)
    written = torch.einsum("bthd,chd->bhtc", values, attention.out_v_proj.weight.unflatten(1, heads)).flatten(1, 2)

    # The softmax over the tokens of the image is summed up part by part, relative to the greatest score so far.
    most = torch.full_like(offset, -math.inf, dtype=torch.float32)
    total, read = torch.zeros_like(most), torch.zeros_like(image[:, :1], dtype=torch.float32)
    changes = []
    for part in _parts(image):
        scores = (part @ wide + offset).float()  # (B, n, heads T)
        of_text = scores.unflatten(-1, (heads[0], -1)).masked_fill(~real[:, None, None], -math.inf).softmax(-1)
        changes.append(of_text.flatten(2) @ written)
        before, most = most, torch.maximum(most, scores.amax(1, keepdim=True))
        shares, kept = (scores - most).exp(), (before - most).exp()
        total = total * kept + shares.sum(1, keepdim=True)
        read = read * kept.mT + shares.mT @ part
    project = attention.values_v_proj.weight.unflatten(0, heads)
    read = (read / total.mT).unflatten(1, (heads[0], -1)).to(project.dtype)
    found = torch.einsum("bhtc,hdc->bthd", read, project)
    change = torch.cat(changes, 1)
    found = found.flatten(2) + attention.values_v_proj.bias.to(found.dtype)  # rounded as in a linear layer
    change = change + attention.out_v_proj.bias.to(change.dtype)
    return image + layer.gamma_v * change, text + layer.gamma_l * attention.out_l_proj(found)


def _mlp(layer: Any, tokens: Tensor) -> Tensor:
    """The two linear layers after attention, (B, n, C)."""
    return torch.cat([layer.linear2(layer.activation(layer.linear1(part))) for part in _parts(tokens)], 1)


def _parts(tokens: Tensor) -> tuple[Tensor, ...]:
    """Tokens (B, n, C) in parts along n."""
    parts: tuple[Tensor, ...] = tokens.split(max(1, _TOKENS[tokens.device.type] // len(tokens)), 1)
    return parts


def _attend(
    attention: nn.MultiheadAttention, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """Multi-head attention (B, n, C); ``allowed`` is bool and broadcasts to (B, heads, n, keys)."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for x, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
    )
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    result: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return result


def _deformable(
    attention: Any, queries: Tensor, references: Tensor, values: Tensor, shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """Deformable attention (B, n, C): each head samples each level bilinearly at a few points, zero outside the image.

    Args:
        attention: the layer.
        queries: float (B, n, C).
        references: float32 (B or 1, n, 2), points x y relative to the image, to which offsets in pixels of a level are
            added; or (B or 1, n, 4), boxes cx cy w h, in whose sizes offsets are measured.
        values: float (B, N, C), the tokens of all levels.
        shapes: height and width of each level.
    """
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    samples = heads * levels * points
    height, width, stride, first, head = _places(shapes, heads, points, queries.device)
    table = _bordered(attention.value_proj(values).float(), shapes)
    first = first + torch.arange(len(queries), dtype=torch.int32, device=queries.device).view(-1, 1, 1) * table.shape[1]
    table = table.reshape(-1, table.shape[-1] // heads)
    offsets = attention.sampling_offsets(queries).float().unflatten(-1, (samples, 2))
    weights = attention.attention_weights(queries).float().unflatten(-1, (heads, -1)).softmax(-1).flatten(2)

    def sampled(offset: Tensor, weight: Tensor, reference: Tensor) -> Tensor:
        x, y = reference[..., :1] * width - 0.5, reference[..., 1:2] * height - 0.5
        dx, dy = offset.unbind(-1)
        if reference.shape[-1] == 4:
            x = x + dx * (reference[..., 2:3] * width * (0.5 / points))
            y = y + dy * (reference[..., 3:] * height * (0.5 / points))
        else:
            x, y = x + dx, y + dy
        # The border is zero. NaN, an overflow of fp16, must not become the number of a row.
        x, y = (at.nan_to_num(-1).clamp_min(-1).minimum(side) for at, side in ((x, width), (y, height)))
        left, top = x.floor(), y.floor()
        x, y = x - left, y - top
        row = (top.int() + 1) * stride + (left.int() + 1) + first
        upper, lower = weight * (1 - y), weight * y
        corners = ((0, upper * (1 - x)), (1, upper * x), (stride, lower * (1 - x)), (stride + 1, lower * x))
        found = torch.zeros((), device=table.device)
        for corner, share in corners:
            rows = ((row + corner) * heads + head).view(-1, levels * points)
            shares = share.view(-1, levels * points)
            found = found + F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)
        return found.view(len(queries), -1, heads * table.shape[1])

    step = max(1, _SAMPLES[queries.device.type] // (len(queries) * samples))
    references = references.expand(len(queries), -1, -1)
    parts = zip(offsets.split(step, 1), weights.split(step, 1), references.split(step, 1), strict=True)
    result: Tensor = attention.output_proj(torch.cat([sampled(*part) for part in parts], 1))
    return result


@lru_cache(maxsize=64)
def _places(shapes: Sequence[tuple[int, int]], heads: int, points: int, device: torch.device) -> tuple[Tensor, ...]:
    """For each sample of a query, (heads levels points,): height and width of its level, float32; rows from one line of
    the level to the next in ``_bordered``, the first row of the level, and the head, int32."""
    first = [0, *accumulate((h + 2) * (w + 2) for h, w in shapes)]

    def per_level(numbers: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.tensor(numbers, dtype=dtype, device=device).repeat_interleave(points).repeat(heads)

    return (
        per_level([h for h, _ in shapes], torch.float32),
        per_level([w for _, w in shapes], torch.float32),
        per_level([w + 2 for _, w in shapes], torch.int32),
        per_level(first[:-1], torch.int32),
        torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(len(shapes) * points),
    )


def _bordered(values: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Feature maps with a border of zeros, for samples outside the image.

    Args:
        values: float32 (B, N, C), the tokens of all levels.
        shapes: height and width of each level.

    Returns:
        float32 (B, R, C), the levels one after the other, each with a border of one pixel, and at the end what a sample
        just below the last border would read.
    """
    levels = values.split([h * w for h, w in shapes], 1)
    parts = [F.pad(level.unflatten(1, shape), (0, 0, 1, 1, 1, 1)) for level, shape in zip(levels, shapes, strict=True)]
    end = values.new_zeros(len(values), shapes[-1][1] + 3, values.shape[-1])
    return torch.cat([*(part.flatten(1, 2) for part in parts), end], 1)


def _token_logits(tokens: Tensor, words: Tensor, real: Tensor) -> Tensor:
    """Similarity of queries (B, n, C) and the tokens of captions (B, T, C), minus infinity for padding."""
    return (tokens @ words.mT).masked_fill(~real[:, None], -math.inf)


def _sine(x: Tensor, width: int) -> Tensor:
    """Sine encoding (..., width) of numbers (...)."""
    rates = 10000 ** (2 * torch.arange(width // 2, device=x.device) / width)
    angles = x[..., None] * (2 * math.pi) / rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def _logit(p: Tensor) -> Tensor:
    """The inverse of the sigmoid as in groundingdino."""
    p = p.clamp(0, 1)
    return torch.log(p.clamp_min(1e-3) / (1 - p).clamp_min(1e-3))
