"""Devices and precision of models, and batches that adapt to the memory of the device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from ..errors import UsageError, unknown_name
from .cpu import fp16_slowdown

log = logging.getLogger(__name__)

S = TypeVar("S", torch.Tensor, list[Any])
T = TypeVar("T")

_setting = threading.Lock()
_exact, _tf32 = 0, True  # contexts without TF32, and what was set before the first of them

SAM_BF16 = "sam-bf16"
"""SAM's image encoder in bf16, all other models in fp32."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16", SAM_BF16)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SLOW = 3.0  # times slower than fp32, from which fp16 is refused


def check_device(name: str) -> None:
    """Check that a device is ``auto`` or of a supported kind.

    Raises:
        UsageError: several devices, or one that is neither the CPU nor an NVIDIA or AMD GPU; Apple's mps is not
            supported, for example.
    """
    if "," in name:
        raise UsageError(f"`device` {name}: only generate, predict and proposals take several devices; give one")
    if name.partition(":")[0] not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"`device` {name}: only cpu and cuda are supported (part of the computation needs float64, and the sizes "
            "of batches are set for these two); try `device` cpu"
        )


def choose_precision(asked: str, device: str | torch.device) -> str:
    """``fp32``, ``bf16``, ``fp16`` or ``sam-bf16``.

    Args:
        asked: one of these, or ``auto``: on a GPU the half precision that it supports in hardware (bf16 from NVIDIA's
            Ampere on, fp16 on Volta and Turing), else fp32; see ``cpu_precision`` for the choice of a model set there.
        device: device of the models.

    Raises:
        UsageError: unknown name, or fp16 on a CPU without instructions for it.
    """
    if asked not in PRECISIONS:
        raise unknown_name("precision", asked, PRECISIONS)
    device = torch.device(device)
    if asked == "fp16" and device.type == "cpu" and fp16_slowdown() > _SLOW:
        raise UsageError(
            f"`precision` fp16: this CPU is {fp16_slowdown():.0f} times slower in fp16 than in fp32, and more in large "
            "layers; give `precision` auto, fp32 or bf16"
        )
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "fp32"
    capability = torch.cuda.get_device_capability(device)
    return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"


def of_role(precision: str, role: str) -> str:
    """The precision of a model, ``fp32``, ``bf16`` or ``fp16``, in a set with a precision of ``choose_precision``.

    Args:
        precision: of the set.
        role: ``clip``, ``sam``, ``detector``, or ``sam3`` for SAM 3 as a detector.
    """
    if precision == SAM_BF16:
        return "bf16" if role == "sam" else "fp32"
    return precision


@contextmanager
def computing(device: torch.device, precision: str = "fp32") -> Iterator[None]:
    """Context manager for matrix products and convolutions in a precision; weights, sums and norms remain float32.

    ``fp32`` means float32 throughout: no autocast, and no TF32 in cuDNN's convolutions.
    """
    if precision == "fp32":
        with _without_tf32(), torch.autocast(device.type, enabled=False):
            yield
    else:
        with torch.autocast(device.type, _DTYPES[precision]):
            yield


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Context manager, which threads may nest, without TF32 in cuDNN's convolutions, a setting of the process."""
    global _exact, _tf32
    cudnn = torch.backends.cudnn
    with _setting:
        if not _exact:
            _tf32, cudnn.allow_tf32 = cudnn.allow_tf32, False
        _exact += 1
    try:
        yield
    finally:
        with _setting:
            _exact -= 1
            if not _exact:
                cudnn.allow_tf32 = _tf32


def store_half(module: nn.Module, precision: str) -> None:
    """Store the weights of linear layers and convolutions in half precision, which halves their memory.

    Results do not change: these are the values to which ``computing`` rounds the weights at each use. Other parameters
    stay float32.

    Args:
        module: only used inside ``computing`` with this precision.
        precision: ``fp32`` changes nothing.
    """
    if precision == "fp32":
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.to(_DTYPES[precision])


def with_memory(function: Callable[[], T]) -> T:
    """``function()``; if GPU memory runs out, once more after torch has released what it holds in reserve.

    Models of a set share the memory, and each leaves blocks behind that do not fit the next.

    Raises:
        torch.OutOfMemoryError: it does not fit either.
    """
    try:
        return function()
    except torch.cuda.OutOfMemoryError:
        log.info("out of memory; trying again with the memory that torch held in reserve")
    if torch.cuda.is_available():  # only here is the memory of the failed attempt released
        torch.cuda.empty_cache()
    return function()


IMAGES = {"cpu": 1, "cuda": 1024}
"""Most images that a model processes in one pass. On a CPU batches bring nothing, and results would depend on them, as
sums of another shape are rounded differently."""


class AdaptiveBatch:
    """Processes items in batches whose size is halved when memory runs out.

    Args:
        what: name of the items in the plural, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.limit: int | None = None

    def map(self, function: Callable[[S], T], items: S, batch_size: int) -> Iterator[T]:
        """``function`` of all items in order, in batches of at most ``batch_size``.

        A batch that does not fit into memory is retried with half the size, which later batches keep.

        Raises:
            torch.OutOfMemoryError: a single item does not fit.
        """
        start = 0
        while start < len(items):
            part = items[start : start + min(batch_size, self.limit or batch_size)]
            try:
                done = function(part)
            except torch.cuda.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.limit = len(part) // 2
            else:
                start += len(part)
                yield done
                continue
            # Only here are the error, and with it the memory of the failed attempt, released.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("out of memory with %d %s at a time; continuing with %d", len(part), self.what, self.limit)
