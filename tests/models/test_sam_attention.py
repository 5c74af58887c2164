"""SAM's fused attention gives what the library's own does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from tests.rounding import assert_same
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
