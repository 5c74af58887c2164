"""The towers of open_clip taken apart: put together again they are the library's own."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests.rounding import assert_same
from wsss_seed.errors import WsssError
from wsss_seed.models.clip import Clip
from wsss_seed.models.zoo import TINY

BPE = str(TINY / "bpe.txt.gz")
TOKENIZER = open_clip.SimpleTokenizer(bpe_path=BPE, context_length=20)
VISION = {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
TEXT = {"context_length": 20, "vocab_size": TOKENIZER.vocab_size, "width": 32, "heads": 2, "layers": 2}


def build(vision=(), text=(), kind=open_clip.CLIP, **kwargs) -> Clip:
    torch.manual_seed(0)
    config = {"embed_dim": 24, "vision_cfg": {**VISION, **dict(vision)}, "text_cfg": {**TEXT, **dict(text)}}
    return Clip(kind(**config, **kwargs), TOKENIZER, name="small")


VARIANTS = {
    "plain": {},
    "quickgelu": {"quick_gelu": True},
    "layer scale": {"vision": {"ls_init_value": 0.5}},
    "no ln_pre": {"vision": {"no_ln_pre": True}},
    "average pooling": {"vision": {"pool_type": "avg"}},
}


@pytest.fixture(params=VARIANTS)
def clip(request) -> Clip:
    return build(**VARIANTS[request.param])


@torch.no_grad()
def test_the_tower_is_the_library_s(clip):
    pixels = torch.randn(2, 3, 32, 32)
    visual = clip.model.visual
    for record in (0, 1, 2, 3, 8):
        tower = clip.encode_tokens(pixels, record)
        x = visual.ln_post(visual.transformer.resblocks[-1](tower.tokens))
        pooled = x[:, 1:].mean(1) if visual.pool_type == "avg" else x[:, 0]
        assert_same(F.normalize(pooled @ visual.proj, dim=-1), clip.model.encode_image(pixels, True))
        assert_same(clip.last_block(tower), F.normalize(x[:, 1:].mean(1) @ visual.proj, dim=-1))
        block = clip.open_last_block(tower)
        assert_same(block.features(block.mixed), clip.last_block(tower))
        assert (tower.attention is None) == (record == 0)


@torch.no_grad()
def test_the_record_is_the_mean_of_the_library_s_attention(clip):
    """Rows are queries, class row and column dropped, not normalised again, the last block included."""
    pixels = torch.randn(2, 3, 24, 40)
    x = clip.model.visual.ln_pre(
        torch.cat(
            [
                clip.model.visual.class_embedding.expand(2, 1, -1),
                clip.model.visual.conv1(pixels).flatten(2).transpose(1, 2),
            ],
            1,
        )
        + clip._image_tower.positions((3, 5))
    )
    layers = []
    for block in clip.model.visual.transformer.resblocks:
        y = block.ln_1(x)
        layers.append(block.attn(y, y, y, need_weights=True)[1])
        x = block(x)
    for n in (1, 2, 3):
        expected = torch.stack(layers[-n:]).mean(0)[:, 1:, 1:]
        tower = clip.encode_tokens(pixels, n)
        assert_same(tower.attention, expected)
        assert tower.grid == (3, 5)


def test_positions_are_resampled_in_rows_and_columns():
    """The class row stays; h before w; half-pixel centres; the parameter is not touched."""
    clip = build()
    table = clip.model.visual.positional_embedding
    with torch.no_grad():
        table[0] = 7
        table[1:] = torch.arange(4.0).repeat_interleave(4)[:, None]  # the row's number
    before = table.clone()
    assert torch.equal(clip._image_tower.positions((4, 4)), table)
    got = clip._image_tower.positions((8, 2))
    assert (got[0] == 7).all()
    rows = got[1:].view(8, 2, -1)
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    assert torch.allclose(rows, expected[:, None, None].expand_as(rows))
    assert torch.equal(table, before)


def test_sizes_are_rounded_up_to_the_patch():
    """375 -> 384, 500 -> 512, 333 -> 336, 334 -> 336, 640 -> 640, 427 -> 432, with patches of 16."""
    clip = build({"patch_size": 16})
    for size, rounded in ((375, 384), (500, 512), (333, 336), (334, 336), (640, 640), (427, 432)):
        assert clip.prepare(np.zeros((size, 16, 3), np.uint8)).shape == (1, 3, rounded, 16)
        assert clip.prepare(np.zeros((5, size, 3), np.uint8)).shape == (1, 3, 16, rounded)


def test_input_is_stretched_by_pil_and_normalised():
    clip = build()
    image = np.random.default_rng(0).integers(0, 256, (21, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((32, 24), Image.Resampling.BICUBIC), np.float64) / 255
    expected = (expected - open_clip.OPENAI_DATASET_MEAN) / open_clip.OPENAI_DATASET_STD
    assert np.allclose(clip.prepare(image)[0].permute(1, 2, 0), expected, atol=1e-5)


def test_large_images_can_be_reduced():
    clip = build()
    assert clip.prepare(np.zeros((300, 400, 3), np.uint8), max_side=64).shape == (1, 3, 48, 64)
    assert clip.prepare(np.zeros((30, 40, 3), np.uint8), max_side=64).shape == (1, 3, 32, 40)
    assert clip.prepare(np.zeros((1, 400, 3), np.uint8), max_side=64).shape == (1, 3, 8, 64)


def test_sides_that_patches_do_not_tile_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        build().encode_tokens(torch.zeros(1, 3, 32, 36))


@pytest.mark.parametrize("vision", [{"layers": [1, 1, 1, 1], "width": 16}, {"attentional_pool": True}])
def test_other_image_towers_are_refused_in_one_line(vision):
    clip = build(vision)
    with pytest.raises(WsssError, match="not a plain vision transformer"):
        clip.encode_tokens(torch.zeros(1, 3, 32, 32))
    with pytest.raises(WsssError, match="not a plain vision transformer"):
        _ = clip.patch_size


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize("quick", [False, True])
def test_text_from_embeddings_is_the_library_s(kind, quick):
    """Also where the end tokens are at different places."""
    clip = build(kind=kind, quick_gelu=quick)
    tokens = TOKENIZER(["a boat", "a photo of two large boats on water", "x"])
    got = clip.text_features(clip.token_embedding(tokens), tokens.argmax(1))
    assert_same(got, clip.encode_text(["a boat", "a photo of two large boats on water", "x"]))


def test_a_text_tower_without_an_end_token_is_refused():
    clip = build(text={"no_causal_mask": True, "pool_type": "last"}, kind=open_clip.CustomTextCLIP)
    with pytest.raises(WsssError, match="end token"):
        clip.token_embedding(torch.zeros(1, 20, dtype=torch.int64))


def test_fingerprint_tells_weights_apart():
    a, b = build(), build()
    assert a.fingerprint == b.fingerprint
    with torch.no_grad():
        b.model.visual.proj[0, 0] += 1e-3
    assert Clip(b.model, TOKENIZER).fingerprint != a.fingerprint


@torch.no_grad()
@pytest.mark.parametrize("layers", [3, 8, 12])
def test_patches_are_kept_apart_in_the_last_block_and_attention_is_voted_on(layers):
    """The library's own blocks, with a mask that lets each token of the last one attend to itself only."""
    clip = build({"layers": layers})
    image = np.random.default_rng(1).integers(0, 256, (21, 37, 3), np.uint8)
    visual = clip.model.visual
    pixels = clip.prepare(image)
    rows, columns = 3, 5
    first = visual.class_embedding.expand(1, 1, -1)
    x = torch.cat([first, visual.conv1(pixels).flatten(2).transpose(1, 2)], 1)
    x = visual.ln_pre(x + clip._image_tower.positions((rows, columns)))
    attention = []
    for block in visual.transformer.resblocks[:-1]:
        y = block.ln_1(x)
        attention.append(block.attn(y, y, y, need_weights=True)[1][0, 1:, 1:])
        x = block(x)
    alone = torch.full((rows * columns + 1,) * 2, float("-inf")).fill_diagonal_(0)
    x = visual.transformer.resblocks[-1](x, attn_mask=alone)
    expected = F.normalize(visual.ln_post(x)[0, 1:] @ visual.proj, dim=-1)

    late = {3: [1], 8: [5, 6], 12: [8, 9, 10]}[layers]
    needed = {3: 1, 8: 3, 12: 4}[layers]
    n = rows * columns
    masked = torch.zeros(n, n)
    for i in range(n):
        for j in range(n):
            votes = sum(bool(a[i, j] > a.mean()) for a in attention) + (i == j)
            if votes >= needed:
                masked[i, j] = sum(float(attention[k][i, j]) for k in late) / len(late)

    patches = clip.encode_patches(image)
    assert patches.grid == (rows, columns)
    assert_same(patches.features[0], expected)
    assert_same(patches.attention[0], masked)
    assert 0 < (masked == 0).float().mean() < 1


def test_large_images_have_fewer_patches():
    assert build().encode_patches(np.zeros((300, 400, 3), np.uint8), 64).grid == (6, 8)


def test_a_model_without_usable_patches_is_refused_in_one_line():
    with pytest.raises(WsssError, match=r"clip\.scores = patches need"):
        build({"attentional_pool": True}).require_patches()
    build().require_patches()
