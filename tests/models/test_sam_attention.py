"""SAM's fused attention gives what the library's own does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from tests.rounding import assert_same
from wsss_seed.data.toyland import draw
from wsss_seed.models import precision as room
from wsss_seed.models import sam_attention
from wsss_seed.models.sam import load_sam
from wsss_seed.models.sam_attention import FusedAttention

TINY = Path(room.__file__).parent / "tiny"


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize(("batch", "size"), [(1, (16, 16)), (6, (7, 7)), (2, (5, 9))])
@pytest.mark.parametrize("numbers", [1, 2000, 2**24])
def test_attention_equals_the_librarys(monkeypatch, relative, batch, size, numbers):
    """Row by row, several rows, and all together."""
    monkeypatch.setattr(sam_attention, "_BIAS", {"cpu": numbers})
    torch.manual_seed(0)
    attention = Attention(48, 4, use_rel_pos=relative, input_size=size)
    for p in attention.parameters():
        nn.init.normal_(p, std=0.3)
    x = torch.randn(batch, *size, 48)
    want = attention(x)
    attention.__class__ = FusedAttention
    assert_same(attention(x).detach(), want.detach())


def test_every_block_is_fused():
    sam = load_sam(TINY)
    assert all(type(block.attn) is FusedAttention for block in sam.model.image_encoder.blocks)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rows", [1, 4, 8, 100])
def test_attention_in_reused_memory_equals_the_fused_kernel(monkeypatch, batch, rows):
    monkeypatch.setattr(sam_attention, "_ROWS", rows)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, batch, 10 * 7, 16)
    down, across = torch.randn(2, batch, 10, 7, 10), torch.randn(2, batch, 10, 7, 7)
    bias = (down[..., None] + across[..., None, :]).flatten(-2).flatten(2, 3)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert_same(sam_attention._attend_in_place(q, k, v, down, across), want)


def test_half_precision_on_a_cpu_is_near_full_precision(monkeypatch):
    used, run = [], sam_attention._attend_in_place
    monkeypatch.setattr(sam_attention, "_attend_in_place", lambda *args: used.append(1) or run(*args))
    monkeypatch.setattr(sam_attention, "_LARGE", 64)
    image = draw(0, "test").image
    fp32, bf16 = (load_sam(TINY, precision=precision).embed(image).features for precision in ("fp32", "bf16"))
    assert used
    assert torch.nn.functional.cosine_similarity(fp32.flatten(), bf16.flatten(), dim=0) > 0.999
