"""How fast a CPU computes in each precision: CPU time of one thread, which hardly depends on other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch.nn import functional as F

_SIDE = 256  # of the matrices of `fp16_slowdown`
# Windows measures CPU time in steps of 16 ms.
_clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-4 else time.perf_counter


def ratio(first: Callable[[], object], second: Callable[[], object], rounds: int = 7) -> float:
    """Time of the first function over that of the second, on one thread: the least of several runs each, by turns."""
    times: tuple[list[float], list[float]] = ([], [])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(rounds):
            for function, seconds in zip((first, second), times, strict=True):
                start = _clock()
                function()
                seconds.append(_clock() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times[0]) / min(times[1])


@cache
def fp16_slowdown() -> float:
    """Time of a linear layer in fp16 over that in fp32. Takes a few hundredths of a second, once per process.

    About 1 or less on a CPU with instructions for fp16 (AVX512-FP16, ARMv8.2), and 6 on an AMD EPYC without, where
    torch computes in a plain loop: products of 2,048 x 2,048 matrices are 400 times slower there.
    """
    single = torch.ones(_SIDE, _SIDE)
    half = single.half()
    return ratio(partial(F.linear, half, half), partial(F.linear, single, single))
