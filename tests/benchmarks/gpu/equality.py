"""How far a GPU's answers are from a CPU's, and those of half precision from fp32's, on the same weights and image.

Of trained models, which the miniatures are, differences beyond ``TOLERANCES`` are errors; random weights have answers
near thresholds, so their masks and boxes differ more and are only reported.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.gpu.models import Case, answers, bundled, full_size, of_transformers
from tests.benchmarks.gpu.pictures import picture
from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale
from wsss_seed.data import open_dataset
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.types import LoadedSample

BACKENDS: Mapping[str, Mapping[str, str]] = {"dino-sam": {}, "clip-sams": {"prompts": "handwritten"}}
FEW = {"proposals.points_per_side": 6, "proposals.crop_n_layers": 0}  # for clip-sams at small size

_BEST = 10  # boxes that are compared


class Difference(NamedTuple):
    """How far answers are from others.

    Attributes:
        relative: norm of the difference over the norm, of the array where it is greatest.
        where: this array.
        iou: least IoU of a mask; None without masks.
        pixels: greatest distance of a coordinate of the best boxes from the nearest box; None without boxes.
    """

    relative: float
    where: str
    iou: float | None
    pixels: float | None


TOLERANCES = {"fp32": Difference(1e-3, "", 0.99, 0.5), "half": Difference(0.2, "", 0.9, 10.0)}
_EQUAL_PIXELS = {"fp32": 0.999, "half": 0.98}  # of label maps


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    yield from _toyland(scale)
    for make in (bundled, *scale.pick((partial(full_size, "base", "large"), of_transformers), ())):
        for name, case in make().items():
            print(name, file=sys.stderr, flush=True)
            try:
                yield {name: _compared(case, scale)}
            except Exception as error:
                yield {name: {"error": described(error)}}


# Models -----------------------------------------------------------------------------------------------------------


def _compared(case: Case, scale: Scale) -> dict[str, Any]:
    """fp32 against the CPU's, half precision against fp32 on the same device."""
    image = picture(size=scale.pick((500, 375), (160, 120)))
    found: dict[str, Any] = {}
    reference = answers(case.make("cpu", "fp32"), image)
    for precision in scale.precisions:
        answer = answers(case.make(scale.device, precision), image)
        difference = compare(answer, reference)
        found[precision] = {name: value for name, value in difference._asdict().items() if value not in (None, "")}
        fault = beyond(difference, TOLERANCES["fp32" if precision == "fp32" else "half"])
        if fault and case.trained:
            found[precision]["error"] = fault
        if precision == "fp32":
            reference = answer
    return found


def compare(answer: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Difference:
    """The difference of answers; see ``models.answers``."""
    arrays = [name for name in reference if name not in ("boxes", "masks", "class_scores", "windows")]
    relative = {name: _relative(answer[name], reference[name]) for name in arrays}
    where = max(relative, key=lambda name: relative[name])
    iou = _least_iou(answer["masks"], reference["masks"]) if "masks" in reference else None
    pixels = None
    if "boxes" in reference:
        distances = np.abs(reference["boxes"][:_BEST, None] - answer["boxes"][None]).max(2)
        pixels = float(distances.min(1).max())
    return Difference(relative[where], where, iou, pixels)


def _relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(value - reference) / max(float(np.linalg.norm(reference)), 1e-12))


def _least_iou(masks: np.ndarray, others: np.ndarray) -> float:
    """Of two empty masks it is 1."""
    both, either = (masks & others).sum((1, 2)), (masks | others).sum((1, 2))
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).min())


def beyond(difference: Difference, tolerance: Difference) -> str:
    """What exceeds a tolerance; empty if nothing does."""
    faults = []
    if not difference.relative <= tolerance.relative:
        faults.append(f"{difference.where} differs by {difference.relative:.2g}")
    if difference.iou is not None and tolerance.iou is not None and not difference.iou >= tolerance.iou:
        faults.append(f"a mask has an IoU of {difference.iou:.3f}")
    if difference.pixels is not None and tolerance.pixels is not None and not difference.pixels <= tolerance.pixels:
        faults.append(f"a box is off by {difference.pixels:.2f} pixels")
    return ", ".join(faults)


# Masks of toyland -------------------------------------------------------------------------------------------------


def _toyland(scale: Scale) -> Iterator[dict[str, Any]]:
    """Label maps of the miniatures on this device against those on the CPU in fp32."""
    for backend, options in BACKENDS.items():
        images = scale.pick(20, 1)
        found: dict[str, Any] = {"images": images}
        try:
            reference = _label_maps(scale, backend, options, images, "cpu", "fp32")
            for precision in scale.precisions:
                maps = _label_maps(scale, backend, options, images, scale.device, precision)
                equal = float(np.mean([np.mean(a == b) for a, b in zip(maps, reference, strict=True)]))
                found[precision] = {
                    "equal_pixels": equal,
                    "equal_maps": sum(np.array_equal(a, b) for a, b in zip(maps, reference, strict=True)),
                    "painted": float(np.mean([np.mean(a > 0) for a in maps])),
                }
                least = _EQUAL_PIXELS["fp32" if precision == "fp32" else "half"]
                if equal < least:
                    found[precision]["error"] = f"fewer than {least:.1%} of the pixels are equal"
        except Exception as error:
            found["error"] = described(error)
        yield {f"toyland {backend}": found}


def _label_maps(
    scale: Scale, backend: str, options: Mapping[str, str], images: int, device: str, precision: str
) -> list[np.ndarray]:
    data = open_dataset("toyland", images=images)
    models = ModelSet("tiny", device, precision=precision).for_backend(backend)
    settings = FEW if scale.small and backend == "clip-sams" else {}
    with tempfile.TemporaryDirectory() as home:
        before = os.environ.get("WSSS_SEED_HOME")
        os.environ["WSSS_SEED_HOME"] = home  # or proposals would come from an earlier device
        try:
            seeder = build_seeder(backend, BackendRequest(data.class_set, models, settings), options)
            return [seeder.seed(LoadedSample(sample, data.upright(sample))).labels for sample in data.samples]
        finally:
            if before is None:
                del os.environ["WSSS_SEED_HOME"]
            else:
                os.environ["WSSS_SEED_HOME"] = before
