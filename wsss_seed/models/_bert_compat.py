"""Three methods that groundingdino takes from BertModel and that transformers 5 no longer has.

groundingdino's text encoder (``bertwarper.BertModelWarper``) borrows ``get_extended_attention_mask``,
``invert_attention_mask`` and ``get_head_mask`` from the BertModel it wraps, to hand BERT an attention mask for every
pair of tokens. In transformers 4 they came from a mixin; transformers 5 dropped them. ``supply`` puts them back on one
BertModel object, only those that are missing, with the arithmetic of transformers 4: an additive mask, 0 where
attention is allowed and the lowest number of the dtype where it is not. tests/models/test_bert_compat.py compares with
the numbers that transformers 4.57 gives for the same weights.
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
    """Additive mask of an encoder's self-attention."""
    return _additive(attention_mask, dtype or _dtype(self))


def invert_attention_mask(self: nn.Module, encoder_attention_mask: Tensor) -> Tensor:
    """Additive mask of cross-attention."""
    return _additive(encoder_attention_mask, _dtype(self))


def get_head_mask(
    self: nn.Module, head_mask: Tensor | None, num_hidden_layers: int, is_attention_chunked: bool = False
) -> list[None]:
    """No head is masked, in no layer; transformers 5 can mask none any more."""
    if head_mask is not None:
        raise NotImplementedError("this version of transformers cannot mask attention heads")
    return [None] * num_hidden_layers


def supply(bert: nn.Module) -> nn.Module:
    """Give a BertModel those of the three methods that it lacks, and return it."""
    for method in (get_extended_attention_mask, invert_attention_mask, get_head_mask):
        if not hasattr(bert, method.__name__):
            setattr(bert, method.__name__, MethodType(method, bert))
    return bert
