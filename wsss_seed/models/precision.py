"""How exactly models compute, and how much of their work fits into a device's memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..errors import unknown_name

log = logging.getLogger(__name__)

T = TypeVar("T")

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_precision(asked: str, device: str | torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16``.

    Args:
        asked: one of these, or ``auto``: on a GPU the half precision that it has units for (bf16 from NVIDIA's Ampere
            on, fp16 on Volta and Turing), else fp32.
        device: where the models run.

    Raises:
        WsssError: another name.
    """
    if asked not in PRECISIONS:
        raise unknown_name("precision", asked, PRECISIONS)
    if asked != "auto":
        return asked
    device = torch.device(device)
    if device.type != "cuda":
        return "fp32"
    capability = torch.cuda.get_device_capability(device)
    return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"


@contextmanager
def computing(device: torch.device, precision: str = "fp32") -> Iterator[None]:
    """Matrix products and convolutions in a precision; weights, sums and norms stay float32.

    ``fp32`` means float32 throughout: without an autocast around it, and without TF32 in cuDNN's convolutions.
    """
    if precision == "fp32":
        cudnn = torch.backends.cudnn
        before, cudnn.allow_tf32 = cudnn.allow_tf32, False
        try:
            with torch.autocast(device.type, enabled=False):
                yield
        finally:
            cudnn.allow_tf32 = before
    else:
        with torch.autocast(device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]):
            yield


class AdaptiveBatch:
    """How many of something a model takes at a time: as many as asked for, fewer where memory did not suffice.

    Args:
        what: they are, in the plural, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.limit: int | None = None

    def over(self, items: torch.Tensor, work: Callable[[torch.Tensor], T], most: int) -> Iterator[T]:
        """``work`` of all items in order, ``most`` of them or fewer at a time.

        What does not fit is tried again with half as many, and all that follows keeps to that.

        Raises:
            torch.OutOfMemoryError: a single one does not fit.
        """
        start = 0
        while start < len(items):
            part = items[start : start + min(most, self.limit or most)]
            try:
                done = work(part)
            except torch.cuda.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.limit = len(part) // 2
            else:
                start += len(part)
                yield done
                continue
            # Only here, when the error and with it what the failed attempt had allocated are gone.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("out of memory with %d %s at a time; going on with %d", len(part), self.what, self.limit)
