"""Softmax-GradCAM against its definition, class by class, with autograd alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.rounding import assert_same
from wsss_seed.seeding.clip_sams import cam
from wsss_seed.seeding.clip_sams.cam import all_softmax, class_logits, masked_softmax, present_softmax, softmax_gradcam

LABELS = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)


@pytest.fixture
def tower(clip):
    torch.manual_seed(1)
    return clip.encode_tokens(2 * torch.randn(3, 3, 24, 40))


@pytest.fixture
def text(clip):
    torch.manual_seed(2)
    return F.normalize(torch.randn(8, 16), dim=-1)


def by_definition(clip, tower, text, labels, weights="channel", softmax=masked_softmax, create_graph=False):
    """The definition in plain operations, one backward a class, A an independent leaf."""
    visual = clip.model.visual
    block = visual.transformer.resblocks[-1]
    attention, heads = block.attn, block.attn.num_heads
    a = block.ln_1(tower.tokens).detach().requires_grad_()
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2)
        for x in F.linear(a, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    )
    mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
    x = tower.tokens + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    x = x + block.mlp(block.ln_2(x))
    feature = F.normalize(visual.ln_post(x)[:, 1:].mean(1) @ visual.proj, dim=-1)
    probability = softmax(class_logits(feature, text, 20.0), labels)
    maps = []
    for n, c in labels.nonzero().tolist():
        (g,) = torch.autograd.grad(probability[n, c], a, retain_graph=True, create_graph=create_graph)
        g = g[n, 1:]
        if weights == "channel":
            g = g.mean(0, keepdim=True)
        maps.append((g * a.detach()[n, 1:]).sum(-1).view(tower.grid))
    return torch.stack(maps)


@pytest.mark.parametrize("weights", ["channel", "element"])
@pytest.mark.parametrize(
    ("softmax", "function"), [("masked", masked_softmax), ("present", present_softmax), ("all", all_softmax)]
)
def test_maps_are_those_of_the_definition(clip, tower, text, weights, softmax, function):
    expected = by_definition(clip, tower, text, LABELS, weights, function)
    got = softmax_gradcam(clip, tower, text, LABELS, weights=weights, softmax=softmax, scale=20)
    assert got.shape == (4, 3, 5)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    assert_same(got, expected)
    assert (got < 0).any()  # signed
    assert (got > 0).any()


@pytest.mark.parametrize("weights", ["channel", "element"])
def test_maps_are_differentiable_in_the_text(clip, tower, text, weights):
    """A gradient of a gradient; here of a loss that is not linear in the maps."""
    cotangent = torch.randn(4, 3, 5)
    gradients = []
    for make in (
        lambda t: softmax_gradcam(clip, tower, t, LABELS, weights=weights, scale=20.0, create_graph=True),
        lambda t: by_definition(clip, tower, t, LABELS, weights, create_graph=True),
    ):
        leaf = text.clone().requires_grad_()
        maps = make(leaf)
        loss = (maps / maps.detach().abs().max() * cotangent).sum() + ((maps / maps.detach().std()) ** 2).sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    got, expected = gradients
    assert expected.abs().max() > 0
    assert_same(got, expected)


def test_classes_need_not_fit_into_memory_together(clip, tower, text, monkeypatch):
    expected = softmax_gradcam(clip, tower, text, LABELS)
    monkeypatch.setattr(cam, "_MAX_ATTENTION_GRADIENTS", 1)
    assert_same(softmax_gradcam(clip, tower, text, LABELS), expected)


def test_an_image_does_not_depend_on_its_neighbours(clip, text):
    torch.manual_seed(3)
    pixels = torch.randn(3, 3, 16, 24)
    together = softmax_gradcam(clip, clip.encode_tokens(pixels), text, LABELS)
    alone = torch.cat([softmax_gradcam(clip, clip.encode_tokens(pixels[[n]]), text, LABELS[[n]]) for n in range(3)])
    assert_same(together, alone)


def test_no_class_no_map(clip, tower, text):
    none = torch.zeros_like(LABELS)
    assert softmax_gradcam(clip, tower, text, none).shape == (0, 3, 5)
    leaf = text.clone().requires_grad_()
    softmax_gradcam(clip, tower, leaf, none, create_graph=True).sum().backward()
    assert not leaf.grad.any()


def test_the_model_s_own_scale_is_the_default(clip, tower, text):
    own = softmax_gradcam(clip, tower, text, LABELS)
    assert torch.equal(own, softmax_gradcam(clip, tower, text, LABELS, scale=clip.logit_scale))
    assert not torch.allclose(own, softmax_gradcam(clip, tower, text, LABELS, scale=1.0))


def test_masked_softmax_by_hand():
    """K = 2 classes and a background; the second class is absent."""
    logits = torch.tensor([[1.0, 0.0, 0.5]])
    e = torch.tensor([1.0, 0.0, 0.60653066])  # exp(0), absent, exp(-0.5)
    got = masked_softmax(logits, torch.tensor([[1, 0]]))
    assert torch.allclose(got, e[None] / (1.60653066 + 1e-5))


def test_an_absent_class_far_ahead_quenches_the_masked_softmax_only():
    """The maximum is over all columns and 1e-5 then outweighs the sum."""
    logits, labels = torch.tensor([[0.0, 20.0, 0.0]]), torch.tensor([[True, False]])
    assert masked_softmax(logits, labels)[0, 0] == pytest.approx(2.0612e-9 / (2 * 2.0612e-9 + 1e-5), rel=1e-3)
    assert present_softmax(logits, labels)[0].tolist() == [0.5, 0, 0.5]
    assert all_softmax(logits, labels)[0, 1] > 0.99
