"""The precision that ``auto`` takes on a CPU: measured once, and remembered in the cache folder.

Only SAM's image encoder is worth a choice. On an AMD EPYC (AVX-512 BF16, 2 cores, torch 2.15, base models), bf16 takes
0.62 of fp32's time for it, 0.56 for Grounding DINO and 2.0 for CLIP's views. On 200 images of toyland with the bundled
models and image-level labels, its masks agree with those of fp32 on 99.98 % of all pixels, the mean IoU per class and
image is 0.997, and no image agrees on less than 99.7 %. With Grounding DINO in bf16 the mean IoU is 0.985, and
thresholds flip: one image agrees on 14 % only. Encoders of other SAMs gain as well: 0.68 for SAM 2.1 tiny.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..data.toyland import draw
from ..io.files import write_json
from .cache import home
from .cpu import ratio
from .masks import MaskModel
from .precision import SAM_BF16, computing

log = logging.getLogger(__name__)

SPEEDUP = 1.3
"""Speed of a transformer block in bf16 over that in fp32 from which bf16 is taken."""

IOU = 0.98
"""Mean IoU of SAM's masks in bf16 with those in fp32 from which bf16 is taken."""

_CPU_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU part")  # of /proc/cpuinfo, x86 and ARM
_WIDTH, _HEADS, _TOKENS = 768, 12, 1024
_ROUNDS = 5


@dataclass(frozen=True)
class Decision:
    """What was measured, and the precision chosen.

    Attributes:
        precision: ``fp32`` or ``sam-bf16``.
        speedup: speed of a transformer block in bf16 over that in fp32; None on a CPU without instructions for bf16.
        iou: mean IoU of SAM's masks in bf16 with those in fp32; None where bf16 is not faster.
    """

    precision: str
    speedup: float | None = None
    iou: float | None = None


@cache
def cpu() -> str:
    """Name and instructions of the CPU, as Linux lists them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if line.startswith(_CPU_FIELDS))


def has_bf16() -> bool:
    """Whether the CPU has instructions for bf16: AVX-512 BF16, AMX or ARM's. False if the system is not Linux."""
    return any("bf16" in word for word in cpu().split())


@cache
def speedup() -> float:
    """Speed of a transformer block in bf16 over that in fp32, on one thread. Takes about a second, once per process.

    It has the width of SAM ViT-B, whose encoder gains as much: 1.6 on an AMD EPYC with AVX-512 BF16.
    """
    random = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(out, into, generator=random) / into**0.5
        for into, out in ((_WIDTH, 3 * _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, 4 * _WIDTH), (4 * _WIDTH, _WIDTH))
    ]
    half = [weight.bfloat16() for weight in weights]
    x = torch.randn(_TOKENS, _WIDTH, generator=random)
    return ratio(partial(_block, x, weights, "fp32"), partial(_block, x, half, "bf16"), _ROUNDS)


@torch.inference_mode()
def _block(x: torch.Tensor, weights: list[torch.Tensor], precision: str) -> torch.Tensor:
    into, out, up, down = weights
    with computing(x.device, precision):
        q, k, v = F.linear(F.layer_norm(x, (_WIDTH,)), into).view(-1, 3, _HEADS, _WIDTH // _HEADS).permute(1, 2, 0, 3)
        x = x + F.linear(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(-1, _WIDTH), out)
        return x + F.linear(F.gelu(F.linear(F.layer_norm(x, (_WIDTH,)), up)), down)


def faster() -> bool:
    """Whether the CPU computes clearly faster in bf16."""
    return has_bf16() and speedup() >= SPEEDUP


def mask_iou(load: Callable[[str], MaskModel]) -> float:
    """Mean IoU of SAM's masks in bf16 with those in fp32, for the boxes of drawn objects.

    Args:
        load: loads the model in a precision; each is released before the next.
    """
    image, boxes = _scenes()
    fp32, bf16 = (_masks(load(precision), image, boxes) for precision in ("fp32", "bf16"))
    union = (fp32 | bf16).sum((1, 2))
    ious = (fp32 & bf16).sum((1, 2)) / union.clamp(min=1)
    return float(torch.where(union > 0, ious, 1.0).mean())


def _scenes() -> tuple[np.ndarray, np.ndarray]:
    """Four scenes beside and below each other, uint8 (H, W, 3), and the boxes (n, 4) of their objects."""
    rows, boxes, top = [], [], 0
    for pair in ((0, 1), (2, 3)):
        scenes = [draw(index, "val") for index in pair]
        height = max(scene.image.shape[0] for scene in scenes)
        left, row = 0, []
        for scene in scenes:
            h, w = scene.image.shape[:2]
            row.append(np.pad(scene.image, ((0, height - h), (0, 0), (0, 0)), mode="edge"))
            boxes.append(scene.boxes + np.array([left, top, left, top], np.float32))
            left += w
        rows.append(np.concatenate(row, 1))
        top += height
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), mode="edge") for row in rows]
    return np.concatenate(padded), np.concatenate(boxes)


def _masks(sam: MaskModel, image: np.ndarray, boxes: np.ndarray) -> torch.Tensor:
    return sam.decode_boxes(sam.embed(image), boxes).low_res[:, 0] > 0


def decide(load: Callable[[str], MaskModel]) -> Decision:
    """Measure speed and masks, and choose.

    Args:
        load: loads SAM in a precision; called only if bf16 is faster.
    """
    if not has_bf16():
        return Decision("fp32")
    if not faster():
        return Decision("fp32", speedup())
    log.info("comparing SAM's masks in fp32 and bf16, once on this machine")
    iou = mask_iou(load)
    found = Decision(SAM_BF16 if iou >= IOU else "fp32", speedup(), iou)
    log.info(
        "SAM's encoder computes in %s: bf16 is %.1f times as fast on this CPU, and its masks have an IoU of %.3f with "
        "those of fp32",
        "bf16" if found.precision == SAM_BF16 else "fp32",
        speedup(),
        iou,
    )
    return found


def remembered(sam: str) -> Decision | None:
    """The decision for this CPU, this version of torch and a SAM; None if there is none.

    Threads are not part of the key: speed is measured on one, and rounding differs by less than the bound.

    Args:
        sam: identifies its weights.
    """
    try:
        record = json.loads(_record(sam).read_text("utf-8"))
        return Decision(**record["decision"]) if record["key"] == _key(sam) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def remember(sam: str, decision: Decision) -> None:
    """Store a decision for ``remembered``; without a writable cache it is measured again in each process."""
    with suppress(OSError):
        write_json(_record(sam), {"key": _key(sam), "decision": asdict(decision)})


def _key(sam: str) -> dict[str, Any]:
    return {"cpu": cpu(), "torch": torch.__version__, "sam": sam, "speedup": SPEEDUP, "iou": IOU}


def _record(sam: str) -> Path:
    digest = hashlib.sha256(json.dumps(_key(sam), sort_keys=True).encode()).hexdigest()
    return home() / "precision" / f"{digest[:32]}.json"
