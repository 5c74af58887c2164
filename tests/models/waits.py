"""How often a program waits for a GPU, counted on a CPU."""

from __future__ import annotations

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode


class Waits(TorchFunctionMode):
    """Counts calls for which the host waits for a GPU: those whose values, or whose result's size, it needs."""

    NAMES = ("cpu", "item", "tolist", "numpy", "nonzero", "masked_select", "unique", "__bool__", "__int__", "__float__")

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        options = kwargs or {}
        index = args[1] if name in ("__getitem__", "__setitem__") else ()
        masked = [x for x in (index if isinstance(index, tuple) else (index,)) if isinstance(x, torch.Tensor)]
        ragged = name == "repeat_interleave" and options.get("output_size") is None
        if name in self.NAMES or ragged or any(x.dtype == torch.bool for x in masked):
            self.seen[name] += 1
        return function(*args, **options)
