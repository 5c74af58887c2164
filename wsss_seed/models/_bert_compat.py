"""Three methods that groundingdino takes from BertModel and that were removed in transformers 5.

groundingdino's text encoder (``bertwarper.BertModelWarper``) calls ``get_extended_attention_mask``,
``invert_attention_mask`` and ``get_head_mask`` of the BertModel it wraps, to give BERT an attention mask for every pair
of tokens. In transformers 4 they came from a mixin, which transformers 5 removed. ``supply`` adds the missing ones to
one BertModel object, with the arithmetic of transformers 4: an additive mask, 0 where attention is allowed and the
lowest value of the dtype where it is not. tests/models/test__bert_compat.py compares them with the outputs of
transformers 4.57 for the same weights.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Mask (b, keys) or (b, queries, keys), 1 where attention is allowed, as additive (b, 1, 1 or queries, keys)."""
    mask = mask[:, None, :, :] if mask.ndim == 3 else mask[:, None, None, :]
    return (1 - mask.to(dtype)) * torch.finfo(dtype).min


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


def get_extended_attention_mask(
    self: nn.Module,
    attention_mask: Tensor,
    input_shape: Any = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Additive mask for the self-attention of an encoder."""
    return _additive(attention_mask, dtype or _dtype(self))


def invert_attention_mask(self: nn.Module, encoder_attention_mask: Tensor) -> Tensor:
    """Additive mask for cross-attention."""
    return _additive(encoder_attention_mask, _dtype(self))


def get_head_mask(
    self: nn.Module, head_mask: Tensor | None, num_hidden_layers: int, is_attention_chunked: bool = False
) -> list[None]:
    """No head is masked in any layer; transformers 5 no longer supports it.

    Raises:
        NotImplementedError: a mask is given.
    """
    if head_mask is not None:
        raise NotImplementedError("this version of transformers cannot mask attention heads")
    return [None] * num_hidden_layers


def supply(bert: nn.Module) -> nn.Module:
    """Add the missing methods to a BertModel, and return it."""
    for method in (get_extended_attention_mask, invert_attention_mask, get_head_mask):
        if not hasattr(bert, method.__name__):
            setattr(bert, method.__name__, MethodType(method, bert))
    return bert
