"""The machine: GPU, driver, libraries, and the rates of matrix products and of copies."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import torch

from tests.benchmarks.gpu.scale import Scale
from wsss_seed.models.zoo import versions
from wsss_seed.run.bench import matmul_rate
from wsss_seed.run.timing import elapsed

_COPY = {"cpu": 2**28, "cuda": 2**32}  # bytes


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    yield {"python": platform.python_version(), "cpus": len(os.sched_getaffinity(0)), "versions": versions()}
    device = torch.device(scale.device)
    if scale.gpu:
        properties = torch.cuda.get_device_properties(device)
        yield {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gib": properties.total_memory / 2**30,
            "multiprocessors": properties.multi_processor_count,
            "gpus": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
            "driver": _driver(),
        }
    yield {"matmul_tflops": {precision: matmul_rate(device, precision) / 1e12 for precision in scale.precisions}}
    source = torch.zeros(_COPY[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(elapsed(lambda: target.copy_(source), device) for _ in range(5))
    yield {"copy_gb_per_s": 2 * source.numel() / best / 1e9}  # bytes read and written


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where nvidia-smi is missing or fails."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or None
