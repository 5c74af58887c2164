"""Mask proposals against SamAutomaticMaskGenerator at its own rules: counts, masks of one that the other has, and time.

The miniature has trained weights, so its masks are those of objects. SAM ViT-H has random weights; its predicted IoUs
are compared with a threshold that a part of the masks passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from tests.benchmarks.bench_proposals import compare
from tests.benchmarks.gpu.models import bundled, full_size
from tests.benchmarks.gpu.pictures import picture
from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale
from wsss_seed.data.toyland import draw
from wsss_seed.models.sam import Sam

_PASSING = 0.15  # part of random masks


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    tiny = bundled()["tiny sam"]
    toys = [draw(i, "test").image for i in range(scale.pick(4, 1))]
    yield {"tiny fp32": _compared(tiny.make(scale.device, "fp32"), toys, 0.5, 0.5, 0.2, scale.pick(32, 8))}
    if scale.small:
        return
    case = full_size("large")["sam vit_h"]
    for precision in ("bf16", "fp32"):
        sam = case.make(scale.device, precision)
        threshold = _threshold(sam)
        pictures = [picture(i) for i in range(3)]
        yield {f"vit_h {precision}": _compared(sam, pictures, threshold, 0.0, 0.0)}


def _compared(
    sam: Sam, images: list[Any], iou: float, stability: float, offset: float, points: int = 32
) -> dict[str, Any]:
    try:
        return dict(compare(sam, iter(images), iou, stability, offset, points))
    except Exception as error:
        return {"error": described(error)}


def _threshold(sam: Sam) -> float:
    """The predicted IoU that a part of the masks of an image exceeds."""
    image = picture()
    points = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)).numpy() * image.shape[1::-1]
    found = torch.cat([part.iou.flatten() for part in sam.decode_points(sam.embed(image), points)])
    return float(found.float().quantile(1 - _PASSING))
