"""The precision that auto takes on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from wsss_seed.models import cpu_precision, zoo
from wsss_seed.models.cpu_precision import Decision, decide, mask_iou, remember, remembered
from wsss_seed.models.sam import Sam, load_sam
from wsss_seed.models.untrained import without_download
from wsss_seed.models.zoo import TINY, ModelSet


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """A CPU that is fast in bf16, an empty cache, and models that are never too small."""
    monkeypatch.setenv("WSSS_SEED_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cpu_precision, "cpu", lambda: "flags: avx512f avx512_bf16")
    monkeypatch.setattr(cpu_precision, "speedup", lambda: 2.0)
    monkeypatch.setattr(zoo, "_SMALL", 0)


def tiny(precision: str) -> Sam:
    return load_sam(TINY, precision=precision)


def another_in_bf16(precision: str) -> Sam:
    """A SAM whose image encoder is another one in bf16."""
    sam = tiny(precision)
    if precision == "bf16":
        for weight in sam.model.image_encoder.parameters():
            weight.copy_(weight.flatten().flip(0).view(weight.shape))
    return sam


def never(precision: str) -> Sam:
    raise AssertionError("loaded")


def test_instructions_for_bf16(monkeypatch):
    for text, has in [
        ("flags: avx512f avx512_bf16", True),
        ("Features: svebf16 bf16", True),
        ("flags: avx2 f16c", False),
    ]:
        monkeypatch.setattr(cpu_precision, "cpu", lambda text=text: text)
        assert cpu_precision.has_bf16() == has
    monkeypatch.setattr(cpu_precision, "cpu", lambda: "")  # not Linux
    assert decide(never) == Decision("fp32")


def test_the_block_computes_the_same_in_both_precisions():
    random = torch.Generator().manual_seed(0)
    width = cpu_precision._WIDTH
    weights = [
        torch.randn(n * width, m * width, generator=random) / (m * width) ** 0.5
        for n, m in ((3, 1), (1, 1), (4, 1), (1, 4))
    ]
    x = torch.randn(32, width, generator=random)
    exact = cpu_precision._block(x, weights, "fp32")
    half = cpu_precision._block(x, [weight.bfloat16() for weight in weights], "bf16")
    assert exact.dtype == torch.float32
    assert not torch.equal(exact, half)
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.1)


def test_bf16_is_taken_where_it_is_faster_and_masks_agree(fast, monkeypatch):
    found = decide(tiny)
    assert found.precision == "sam-bf16"
    assert found.speedup == 2.0
    assert found.iou is not None
    assert cpu_precision.IOU < found.iou < 1
    monkeypatch.setattr(cpu_precision, "speedup", lambda: 1.2)
    assert decide(never) == Decision("fp32", 1.2)


def test_fp32_is_taken_where_masks_differ(fast):
    found = decide(another_in_bf16)
    assert found.precision == "fp32"
    assert found.iou is not None
    assert found.iou < cpu_precision.IOU


def test_equal_masks_have_an_iou_of_one():
    assert mask_iou(lambda _: tiny("fp32")) == 1


def test_a_decision_holds_for_this_cpu_torch_and_sam(fast, monkeypatch):
    found = Decision("sam-bf16", 1.8, 0.99)
    assert remembered("a") is None
    remember("a", found)
    assert remembered("a") == found
    assert remembered("b") is None
    with monkeypatch.context() as patch:
        patch.setattr(cpu_precision, "cpu", lambda: "flags: amx_bf16")
        assert remembered("a") is None
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert remembered("a") is None
    assert remembered("a") == found


def test_a_decision_that_cannot_be_read_or_kept_is_made_again(fast, monkeypatch, tmp_path):
    remember("a", Decision("fp32"))
    (file,) = (tmp_path / "home" / "precision").iterdir()
    for text in ("", "[]", "{}", json.dumps({**json.loads(file.read_text()), "decision": {"odd": 1}})):
        file.write_text(text)
        assert remembered("a") is None
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("WSSS_SEED_HOME", str(blocked))
    remember("a", Decision("fp32"))
    assert remembered("a") is None


def test_a_set_decides_once(fast, monkeypatch):
    models = ModelSet("tiny", "cpu")
    assert models.precision == "sam-bf16"
    assert models.sam.precision == "bf16"
    assert models.clip.precision == models.detector.precision == "fp32"
    monkeypatch.setattr(cpu_precision, "mask_iou", lambda load: pytest.fail("measured again"))
    assert ModelSet("tiny", "cpu").precision == "sam-bf16"
    assert ModelSet("tiny", "cpu", precision="fp32").precision == "fp32"
    assert ModelSet("tiny", "cpu", precision="sam-bf16").precision == "sam-bf16"


def test_small_models_and_sam_3_compute_in_fp32(fast, monkeypatch):
    monkeypatch.setattr(cpu_precision, "decide", lambda load: pytest.fail("measured"))
    assert ModelSet("sam3", "cpu").precision == "fp32"
    monkeypatch.setattr(zoo, "_SMALL", 2**26)
    assert ModelSet("tiny", "cpu").precision == "fp32"


def test_a_set_keeps_the_precision_of_a_run(fast):
    assert ModelSet("tiny", "cpu").resuming("fp32").precision == "fp32"
    for asked, recorded in [("auto", None), ("auto", "bf16"), ("fp32", "sam-bf16")]:
        models = ModelSet("tiny", "cpu", precision=asked)
        assert models.resuming(recorded) is models


def test_masks_are_not_compared_without_weights(fast, monkeypatch):
    """For the time of models that are not downloaded; no download is attempted."""
    monkeypatch.setattr(ModelSet, "require", lambda *_: pytest.fail("downloaded"))
    assert without_download(ModelSet("base", "cpu")).precision == "sam-bf16"
    monkeypatch.setattr(cpu_precision, "speedup", lambda: 1.0)
    assert without_download(ModelSet("base", "cpu")).precision == "fp32"
    assert not list(Path(zoo.home()).glob("**/*"))
