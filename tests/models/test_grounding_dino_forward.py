"""The forward pass against groundingdino's own, and batches against single images."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from groundingdino.models.GroundingDINO.bertwarper import generate_masks_with_special_tokens_and_transfer_map
from groundingdino.util.misc import NestedTensor, nested_tensor_from_tensor_list

from tests.models.small_detector import CONFIG, fill, picture, small_model, vocabulary
from tests.rounding import assert_same
from wsss_seed.models import grounding_dino_forward as forward
from wsss_seed.models.grounding_dino import GroundingDino, Resize, build_grounding_dino, build_tokenizer
from wsss_seed.models.merging import in_groups
from wsss_seed.models.precision import IMAGES

CAPTIONS = ["dining table . cat . a hot dog . airplane .", "cat .", "hot dog . airplane ."]


def encoded(model, caption):
    tokens = model.tokenizer([caption], return_tensors="pt")
    related, positions, _ = generate_masks_with_special_tokens_and_transfer_map(
        tokens, model.specical_tokens, model.tokenizer
    )
    return forward.encode_text(model, tokens["input_ids"], related, positions)


@torch.inference_mode()
def ours(model, pixels, captions):
    maps = forward.encode_images(model, NestedTensor, pixels)
    texts = [encoded(model, caption) for caption in captions]
    grid = forward.grid_of(model, NestedTensor, maps)
    return forward.detect(model, maps, grid, forward.padded(texts))


@torch.inference_mode()
def theirs(model, pixels, caption):
    out = model(nested_tensor_from_tensor_list(pixels), captions=[caption])
    return out["pred_logits"].sigmoid(), out["pred_boxes"]


def pixels(*seeds, size=(64, 96)):
    return torch.cat([torch.from_numpy(picture(*size, seed=s)).permute(2, 0, 1)[None] / 64 - 1 for s in seeds])


@pytest.mark.parametrize("size", [(64, 96), (97, 70), (33, 128), (64, 65)])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_tokens_and_boxes_are_those_of_the_library(size, caption):
    model, inputs = small_model(), pixels(1, size=size)
    (scores, boxes), (wanted_scores, wanted_boxes) = ours(model, inputs, [caption]), theirs(model, inputs, caption)
    assert_same(scores, wanted_scores[..., : scores.shape[-1]])
    assert_same(boxes, wanted_boxes)
    assert boxes.std(1).min() > 1e-3  # the boxes differ


@pytest.mark.parametrize("points", [(1, 3), (4, 2)])
def test_other_numbers_of_points_and_levels(points):
    extra = {"enc_n_points": points[0], "dec_n_points": points[1], "num_feature_levels": 4}
    model = fill(
        build_grounding_dino({**CONFIG, "model": {**CONFIG["model"], **extra}}, build_tokenizer(vocabulary()))
    ).eval()
    inputs = pixels(2)
    got, wanted = ours(model, inputs, [CAPTIONS[0]]), theirs(model, inputs, CAPTIONS[0])
    assert_same(got[0], wanted[0][..., : got[0].shape[-1]])
    assert_same(got[1], wanted[1])


def test_parts_of_the_tokens_do_not_matter(monkeypatch):
    model, inputs = small_model(), pixels(3)
    whole = ours(model, inputs, [CAPTIONS[0]])
    monkeypatch.setitem(forward._TOKENS, "cpu", 7)
    monkeypatch.setitem(forward._SAMPLES, "cpu", 100)
    for got, wanted in zip(ours(model, inputs, [CAPTIONS[0]]), whole, strict=True):
        assert_same(got, wanted)


def test_a_batch_of_images_and_captions_gives_what_each_gives_alone():
    model = small_model()
    scores, boxes = ours(model, pixels(1, 2, 3), CAPTIONS)
    for i, caption in enumerate(CAPTIONS):
        alone_scores, alone_boxes = ours(model, pixels(i + 1), [caption])
        tokens = alone_scores.shape[-1]
        assert_same(scores[i, :, :tokens], alone_scores[0])
        assert_same(boxes[i], alone_boxes[0])
        assert not scores[i, :, tokens:].any()  # padding


def test_samples_outside_the_image_are_zero():
    """Deformable attention far outside, and at the border, as grid_sample pads with zeros."""
    from groundingdino.models.GroundingDINO.ms_deform_attn import MultiScaleDeformableAttention

    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(32, num_heads=4, num_levels=2, num_points=3, batch_first=True).eval()
    shapes = ((5, 7), (3, 4))
    values, queries = torch.randn(2, 47, 32), torch.randn(2, 40, 32)
    torch.nn.init.normal_(layer.sampling_offsets.weight, std=1.0)
    references = torch.rand(2, 40, 2) * 3 - 1
    references[:, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1e4, 0.5], [-1e4, 2.0]])
    with torch.inference_mode():
        for reference in (references, torch.cat([references, torch.rand(2, 40, 2)], -1)):
            got = forward._deformable(layer, queries, reference, values, shapes)
            wanted = layer(
                queries,
                value=values,
                reference_points=reference[:, :, None].expand(-1, -1, 2, -1),
                spatial_shapes=torch.tensor(shapes),
            )
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_overflow_reads_no_foreign_memory():
    from groundingdino.models.GroundingDINO.ms_deform_attn import MultiScaleDeformableAttention

    layer = MultiScaleDeformableAttention(32, num_heads=4, num_levels=1, num_points=2, batch_first=True).eval()
    queries = torch.full((1, 3, 32), torch.inf)
    queries[0, 1] = torch.nan
    with torch.inference_mode():
        got = forward._deformable(layer, queries, torch.rand(1, 3, 2), torch.randn(1, 12, 32), ((3, 4),))
    assert got.shape == (1, 3, 32)


class HostReads(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts operations whose result a program has to wait for on a GPU."""

    READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.item", "aten.equal")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += str(function).startswith(self.READS)
        return function(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device():
    """groundingdino's own forward pass reads sizes and checks for NaN in every layer."""
    model, inputs = small_model(), pixels(1)
    with torch.inference_mode():
        maps = forward.encode_images(model, NestedTensor, inputs)
        grid, text = forward.grid_of(model, NestedTensor, maps), encoded(model, CAPTIONS[0])
        with HostReads() as own:
            forward.encode_images(model, NestedTensor, inputs)
            forward.detect(model, maps, grid, text)
        with HostReads() as library:
            model(nested_tensor_from_tensor_list(inputs), captions=[CAPTIONS[0]])
    assert own.count == 0
    assert library.count > 20


def test_half_precision_is_near():
    inputs = picture(64, 96, seed=4)
    exact = GroundingDino(small_model(), Resize(64, 96, 32)).detect(inputs, [["cat"], ["hot dog"]])
    half = GroundingDino(small_model(), Resize(64, 96, 32), precision="bf16").detect(inputs, [["cat"], ["hot dog"]])
    assert np.isfinite(half.boxes).all()
    assert np.median(np.abs(half.scores - exact.scores)) < 0.02


def test_images_of_several_sizes_in_a_group_are_detected_as_alone(monkeypatch):
    monkeypatch.setitem(IMAGES, "cpu", 1024)
    detector = GroundingDino(small_model(), Resize(64, 96, 32))
    images = [picture(*size, seed=i) for i, size in enumerate([(64, 96), (96, 64), (64, 96), (50, 50), (128, 192)])]
    phrases = [[["cat"], ["dining table"]], [["airplane"]], [["hot dog"], ["cat"]], [["cat"]], [["cat"]]]
    pairs = list(zip(images, phrases, strict=True))
    alone = [detector.detect(*pair) for pair in pairs]
    done = in_groups(lambda pair: detector.detect(*pair), pairs, 5)
    for (_, outcome), wanted in zip(done, alone, strict=True):
        for got, value in zip(outcome.future.result(), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-4)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    detector = GroundingDino(small_model(), Resize(64, 96, 32))
    images = [picture(64, 96, seed=i) for i in range(4)]
    alone = [detector.detect(image, [["cat"]]) for image in images]
    run, sizes = forward.detect, []

    def limited(model, maps, grid, text):
        sizes.append(len(maps[0]))
        if len(maps[0]) > 2:
            raise torch.cuda.OutOfMemoryError
        return run(model, maps, grid, text)

    monkeypatch.setitem(IMAGES, "cpu", 1024)
    monkeypatch.setattr(sys.modules[GroundingDino.__module__], "detect", limited)
    done = in_groups(lambda image: detector.detect(image, [["cat"]]), images, 4)
    for (_, outcome), wanted in zip(done, alone, strict=True):
        np.testing.assert_allclose(outcome.future.result().boxes, wanted.boxes, rtol=1e-4, atol=1e-4)
    assert sizes == [4, 4, 2, 2]  # once more after memory was released, then halved


def test_a_configuration_of_another_architecture_is_refused():
    config = {**CONFIG, "model": {**CONFIG["model"], "two_stage_type": "no"}}
    with pytest.raises(ValueError, match="two_stage_type = no: a Grounding DINO has standard"):
        build_grounding_dino(config, build_tokenizer(vocabulary()))
