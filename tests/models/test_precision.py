"""Precisions, fused attention, and less at a time where memory is short."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.rounding import assert_same
from wsss_seed.data.toyland import CLASSES, draw
from wsss_seed.errors import UsageError, WsssError, out_of_memory
from wsss_seed.models import clip as clip_room
from wsss_seed.models import precision as room
from wsss_seed.models.clip import Clip, load_clip
from wsss_seed.models.grounding_dino import load_grounding_dino
from wsss_seed.models.precision import AdaptiveBatch, choose_precision, computing, of_role
from wsss_seed.models.sam import Sam, load_sam
from wsss_seed.models.zoo import ModelSet

TINY = Path(room.__file__).parent / "tiny"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


# Precision


@pytest.mark.parametrize(
    ("capability", "chosen"), [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_auto_is_what_the_device_has_units_for(monkeypatch, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", "cuda:1") == chosen
    assert choose_precision("fp32", "cuda:1") == "fp32"
    assert choose_precision("auto", "cpu") == "fp32"


def test_sam_alone_in_bf16():
    assert choose_precision("sam-bf16", "cpu") == "sam-bf16"
    assert [of_role("sam-bf16", role) for role in ("clip", "sam", "detector", "sam3")] == [
        "fp32",
        "bf16",
        "fp32",
        "fp32",
    ]
    assert [of_role("bf16", role) for role in ("clip", "sam")] == ["bf16", "bf16"]


def test_unknown_precisions_are_refused():
    with pytest.raises(WsssError, match="unknown precision 'fp8'; known: auto, bf16, fp16, fp32, sam-bf16"):
        choose_precision("fp8", "cpu")
    with pytest.raises(WsssError, match="unknown precision"):
        _ = ModelSet("tiny", "cpu", precision="half").precision
    assert ModelSet("tiny", "cpu").precision == "fp32"


def test_devices_of_other_kinds_are_refused():
    for device in ("mps", "mps:0", "xpu"):
        with pytest.raises(UsageError, match=f"`device` {device}: only cpu and cuda are supported .*float64") as error:
            _ = ModelSet("tiny", device).device
        assert "\n" not in str(error.value)
    assert ModelSet("tiny", "auto").device in ("cpu", "cuda")
    with pytest.raises(UsageError, match="`device` cpu,cpu: only generate, predict and proposals take several"):
        _ = ModelSet("tiny", "cpu,cpu").device


def test_fp32_is_float32_throughout():
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        with computing(torch.device("cpu")):
            assert layer(x).dtype == torch.float32
    before = torch.backends.cudnn.allow_tf32
    with computing(torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_models_in_half_precision_see_nearly_the_same(precision):
    image = draw(3, "test").image
    boxes = draw(3, "test").boxes
    exact, half = (load_sam(TINY, precision=p) for p in ("fp32", precision))
    masks = [s.decode_boxes(s.embed(image), boxes).low_res > 0 for s in (exact, half)]
    assert not torch.equal(exact.embed(image).features, half.embed(image).features)
    assert half.embed(image).features.dtype == torch.float32
    assert (masks[0] == masks[1]).float().mean() > 0.98

    exact, half = (load_clip(str(TINY), precision=p) for p in ("fp32", precision))
    whole = np.array([[0, 0, image.shape[1], image.shape[0]]])
    views = [c.encode_views(image, whole) for c in (exact, half)]
    assert views[1].dtype == torch.float32
    torch.testing.assert_close(views[1].norm(dim=-1), torch.ones(1))
    assert torch.equal(*views) == (precision == "bf16")
    assert float((views[0] * views[1]).sum()) > 0.99
    # What class activation maps are made of stays exact.
    assert torch.equal(*(c.encode_text(CLASSES) for c in (exact, half)))
    assert torch.equal(*(c.encode_tokens(c.prepare(image)).tokens for c in (exact, half)))

    exact, half = (load_grounding_dino(TINY, precision=p) for p in ("fp32", precision))
    found = [d.detect(image, [[name] for name in CLASSES]) for d in (exact, half)]
    assert all(array.dtype == np.float32 for array in found[1])
    best = [q.boxes[q.scores.argmax()] for q in found]
    np.testing.assert_allclose(*best, atol=0.05 * max(image.shape))
    assert abs(found[0].scores.max() - found[1].scores.max()) < 0.1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_stored_in_half_precision_change_no_result(monkeypatch, precision):
    """Bit by bit: autocast would round them to the same values."""
    scene = draw(3, "test")

    def results() -> list[np.ndarray]:
        sam, detector = (load(TINY, precision=precision) for load in (load_sam, load_grounding_dino))
        small = [layer.weight.dtype for m in (sam.model.image_encoder, detector.model) for layer in linear(m)]
        dtypes.append(set(small))
        found = detector.detect(scene.image, [[name] for name in CLASSES])
        return [sam.embed(scene.image).features.numpy(), *found]

    def linear(model: nn.Module) -> list[nn.Module]:
        return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]

    dtypes: list[set[torch.dtype]] = []
    half = results()
    for module in ("sam", "grounding_dino"):
        monkeypatch.setattr(f"wsss_seed.models.{module}.store_half", lambda *_: None)
    single = results()
    assert dtypes == [{getattr(torch, {"bf16": "bfloat16", "fp16": "float16"}[precision])}, {torch.float32}]
    for a, b in zip(half, single, strict=True):
        np.testing.assert_array_equal(a, b)


def test_decoders_and_norms_stay_in_float32():
    sam = load_sam(TINY, precision="bf16")
    assert {p.dtype for p in sam.model.mask_decoder.parameters()} == {torch.float32}
    norms = [m.weight.dtype for m in sam.model.image_encoder.modules() if isinstance(m, nn.LayerNorm)]
    assert set(norms) == {torch.float32}
    assert {p.dtype for p in load_sam(TINY).model.parameters()} == {torch.float32}


def test_clip_computes_in_fp32_instead_of_bf16_on_a_cpu():
    """bf16 would shift the logits of its views at a scale of 100, and fp16 would take hours."""
    scene = draw(3, "test")

    def logits(precision: str, forced: bool = False) -> torch.Tensor:
        clip = load_clip(str(TINY), precision=precision)
        if forced:
            clip.precision = precision
        return 100 * clip.encode_views(scene.image, scene.boxes) @ clip.encode_text(CLASSES).T

    exact = logits("fp32")
    assert load_clip(str(TINY), precision="bf16").precision == "fp32"
    assert torch.equal(logits("bf16"), exact)
    assert (logits("fp16") - exact).abs().max() < 0.05  # instead of bf16 on a GPU
    assert (logits("bf16", forced=True) - exact).abs().max() > 0.05


@needs_gpu
def test_clip_computes_in_fp16_instead_of_bf16_on_a_gpu():
    assert load_clip(str(TINY), "cuda", "bf16").precision == "fp16"


@pytest.mark.parametrize("slowdown", [0.8, 40.0])
def test_fp16_is_refused_on_a_cpu_that_is_slow_at_it(monkeypatch, slowdown):
    monkeypatch.setattr(room, "fp16_slowdown", lambda: slowdown)
    if slowdown < 1:
        assert choose_precision("fp16", "cpu") == "fp16"
    else:
        with pytest.raises(UsageError, match=r"`precision` fp16: this CPU is 40 times slower .* fp32 or bf16") as error:
            choose_precision("fp16", "cpu")
        assert "\n" not in str(error.value)
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision("fp16", "cuda") == "fp16"


# Fused attention


# Memory


class SmallMemory:
    """A hook that fails as a full GPU does when a module is given more than a number of inputs at a time."""

    def __init__(self, module: nn.Module, most: int, argument: int = 0) -> None:
        self.most, self.argument, self.seen = most, argument, []
        self.handle = module.register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, arguments: tuple) -> None:
        n = len(arguments[self.argument])
        self.seen.append(n)
        if n > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_portions_halve_until_it_fits_and_stay_small(caplog):
    batches = AdaptiveBatch("things")

    def work(part: torch.Tensor) -> torch.Tensor:
        if len(part) > 3:
            raise torch.OutOfMemoryError("full")
        return part * 2

    items = torch.arange(17)
    with caplog.at_level(logging.WARNING):
        assert torch.cat(list(batches.map(work, items, 16))).equal(items * 2)
    assert batches.limit == 2
    assert [r.message.split(" with ", 1)[1] for r in caplog.records] == [
        f"{n} things at a time; continuing with {n // 2}" for n in (16, 8, 4)
    ]
    caplog.clear()
    assert [len(part) for part in batches.map(work, items, 16)] == [2] * 8 + [1]
    assert not caplog.records
    assert list(batches.map(work, items[:0], 16)) == []


def test_a_single_one_that_does_not_fit_is_an_error():
    def work(part: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        list(AdaptiveBatch("things").map(work, torch.arange(5), 4))


def test_boxes_and_points_and_views_where_memory_is_short(caplog, monkeypatch):
    monkeypatch.setitem(clip_room._VIEWS, "cpu", 64)
    image = draw(1, "test").image
    height, width = image.shape[:2]
    corners = np.random.default_rng(0).uniform(0, 1, (20, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(1), corners.max(1) + 1], 1)

    def results(sam: Sam, clip: Clip) -> list[torch.Tensor]:
        embedding = sam.embed(image)
        points = list(sam.decode_points(embedding, corners[:, 0]))
        return [
            *sam.decode_boxes(embedding, boxes),
            torch.cat([p.iou for p in points]),
            torch.cat([p.low_res(torch.ones(len(p.iou), 3, dtype=torch.bool)) for p in points]),
            clip.encode_views(image, boxes),
        ]

    want = results(load_sam(TINY), load_clip(str(TINY)))
    sam, clip = load_sam(TINY), load_clip(str(TINY))
    hooks = [
        SmallMemory(sam.model.mask_decoder.transformer, 6, 2),
        SmallMemory(sam.model.mask_decoder.transformer.norm_final_attn, 4),
        SmallMemory(clip.model.visual.conv1, 5),
    ]
    with caplog.at_level(logging.WARNING):
        got = results(sam, clip)
    for a, b in zip(got, want, strict=True):
        assert_same(a, b)
    assert all(max(hook.seen) > hook.most and hook.seen[-1] <= hook.most for hook in hooks)
    said = " ".join(record.message for record in caplog.records)
    assert all(what in said for what in ("boxes for SAM", "points for SAM", "views for CLIP"))


def test_an_encoder_is_tried_again_with_the_memory_in_reserve(monkeypatch):
    """Once; masks do not change."""
    image = draw(1, "test").image
    sam = load_sam(TINY)
    want = sam.embed(image).features
    released: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(1))
    runs: list[int] = []

    def fail(times: int):
        def hook(module: nn.Module, arguments: tuple) -> None:
            runs.append(1)
            if len(runs) <= times:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        runs.clear()
        return sam.model.image_encoder.register_forward_pre_hook(hook)

    with fail(1):
        assert torch.equal(sam.embed(image).features, want)
    assert (len(runs), len(released)) == (2, 1)
    with fail(9), pytest.raises(torch.OutOfMemoryError) as error:
        sam.embed(image)
    assert len(runs) == 2
    remedy = out_of_memory(error.value)
    assert remedy is not None
    assert "bf16" not in remedy  # auto is half precision on every GPU that has it


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_gpu_sees_what_the_cpu_sees(precision):
    image, boxes = draw(3, "test").image, draw(3, "test").boxes
    cpu, gpu = ModelSet("tiny", "cpu"), ModelSet("tiny", "cuda", precision=precision)
    exact = precision == "fp32"
    masks = [(m.sam.decode_boxes(m.sam.embed(image), boxes).low_res > 0).cpu() for m in (cpu, gpu)]
    assert (masks[0] == masks[1]).float().mean() > (0.999 if exact else 0.98)
    views = [m.clip.encode_views(image, boxes).cpu() for m in (cpu, gpu)]
    assert (views[0] * views[1]).sum(-1).min() > (0.99999 if exact else 0.99)
    found = [m.detector.detect(image, [[name] for name in CLASSES]) for m in (cpu, gpu)]
    best = [q.boxes[q.scores.argmax()] for q in found]
    np.testing.assert_allclose(*best, atol=(0.5 if exact else 0.05 * max(image.shape)))
    tokens = [m.clip.encode_tokens(m.clip.prepare(image)).tokens.cpu() for m in (cpu, gpu)]
    torch.testing.assert_close(*tokens, rtol=1e-3, atol=1e-3)


@needs_gpu
def test_a_full_gpu_gets_smaller_batches():
    """For real: all but a little of the memory is taken."""
    sam = load_sam(TINY, "cuda")
    image = draw(1, "test").image
    embedding = sam.embed(image)
    boxes = np.tile([[1.0, 1, 60, 60]], (4096, 1))
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, (torch.cuda.memory_reserved() + 2**28) / torch.cuda.get_device_properties(0).total_memory)
    )
    try:
        assert len(sam.decode_boxes(embedding, boxes, chunk=4096).iou) == 4096
        assert sam._boxes.limit is not None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
