"""Peak memory of a photograph of 4000 x 3000 pixels, and what happens where half of it is missing."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tests.benchmarks.bench_proposals import photograph
from tests.benchmarks.gpu.report import described
from tests.benchmarks.gpu.scale import Scale
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.models.typical import answer_typically
from wsss_seed.models.untrained import with_random_weights
from wsss_seed.models.zoo import ModelSet
from wsss_seed.proposals.generate import ProposalSettings, generate_proposals
from wsss_seed.run.timing import elapsed
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.types import LoadedSample

_ROLES = ("clip", "detector", "sam")


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    size = scale.pick((4000, 3000), (800, 600))
    image = photograph(*size)
    yield {"size": size}
    for name in scale.pick(("base", "large"), ("tiny",)):
        models, random = with_random_weights(ModelSet(name, scale.device), _ROLES)
        for role, model in random.items():
            answer_typically(role, model)
        seeder = build_seeder("dino-sam", BackendRequest(load_class_set("voc"), models))
        settings = ProposalSettings(points_per_side=scale.pick(32, 4))
        tasks: dict[str, Callable[[np.ndarray], object]] = {
            "dino-sam": lambda image, seeder=seeder: seeder.seed(LoadedSample(Sample("large", None, None), image)),
            "proposals": lambda image, sam=models.sam, rules=settings: generate_proposals(sam, image, rules),
        }
        for task, work in tasks.items():
            print(name, task, file=sys.stderr, flush=True)
            yield {f"{task} {name}": _measured(work, image, torch.device(scale.device))}
        del models, random, seeder, tasks
        gc.collect()


def _measured(work: Callable[[np.ndarray], object], image: np.ndarray, device: torch.device) -> dict[str, Any]:
    """Seconds and peak in GiB, on a GPU with the models and once more with half of the memory beyond them."""
    gpu = device.type == "cuda"
    if not gpu:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = elapsed(lambda: work(image.copy()), device)
        return {"seconds": seconds, "grown_gib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20}
    work(image.copy())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before, total = torch.cuda.memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    found: dict[str, Any] = {"seconds": elapsed(lambda: work(image.copy()), device)}
    peak, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    found |= {"models_gib": before / 2**30, "peak_gib": peak / 2**30, "reserved_gib": reserved / 2**30}
    limit = before + (peak - before) / 2
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / total, device)
    try:
        found["with_half"] = {"gib": limit / 2**30, "seconds": elapsed(lambda: work(image.copy()), device)}
    except torch.OutOfMemoryError as error:  # a single item may need more
        found["with_half"] = {"gib": limit / 2**30, "ended": described(error)}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
    return found
