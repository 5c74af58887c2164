"""groundingdino's BERT under this version of transformers against the numbers of transformers 4.57 (tests/data)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tests.data.make_bert457 import numbers
from tests.rounding import assert_same
from wsss_seed.models._bert_compat import get_extended_attention_mask, get_head_mask, invert_attention_mask, supply

DATA = Path(__file__).parents[1] / "data"


def bert(**more):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertModel(BertConfig(vocab_size=40, **sizes, **more))


def test_text_features_logits_and_boxes_are_those_of_transformers_457():
    golden, now = np.load(DATA / "bert457.npz"), numbers()
    for name in ("text", "logits", "boxes"):
        assert np.abs(golden[name]).max() > 0.5
        assert_same(now[name], golden[name])


def test_masks_are_additive():
    model = bert()
    pairs = torch.tensor([[[1, 0], [1, 1]]]).bool()
    lowest = torch.finfo(torch.float32).min
    wanted = torch.tensor([[[[0, lowest], [0, 0]]]])
    assert torch.equal(get_extended_attention_mask(model, pairs, (1, 2)), wanted)
    assert torch.equal(invert_attention_mask(model, pairs), wanted)
    keys = get_extended_attention_mask(model, torch.tensor([[1, 1, 0]]))
    assert torch.equal(keys, torch.tensor([[[[0, 0, lowest]]]]))
    half = get_extended_attention_mask(model, pairs, dtype=torch.float16)
    assert half.dtype == torch.float16
    assert torch.isfinite(half).all()


def test_no_head_can_be_masked():
    model = bert()
    assert get_head_mask(model, None, 3) == [None, None, None]
    with pytest.raises(NotImplementedError):
        get_head_mask(model, torch.ones(2), 1)


def test_supply_leaves_what_is_there_and_other_models_alone():
    model, other = bert(), bert()
    model.get_head_mask = marker = object()
    supply(model)
    assert model.get_head_mask is marker
    assert callable(model.invert_attention_mask)
    if not hasattr(BertModel, "invert_attention_mask"):
        assert not hasattr(other, "invert_attention_mask")
