"""Several processes, one GPU each, that learn the same prompts together."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch

from ....errors import WsssError


class Processes:
    """The processes that ``accelerate launch`` started, or this one alone.

    Each takes every n-th micro-batch of an iteration and all add up their gradients, so that the effective batch, and
    but for the order of additions the outcome, is that of one process.

    Attributes:
        index, count: this one's number and how many there are.
        first: whether this one writes files and messages.
        device: of this process: ``cuda:N`` or ``cpu``; None where it is alone and may choose.
    """

    def __init__(self) -> None:
        self.index, self.count = 0, 1
        self.device: str | None = None
        self._accelerator: Any = None

    @classmethod
    def launched(cls, micro_batches: int) -> Processes:
        """The processes of this launch.

        Args:
            micro_batches: of an iteration, between which they share.

        Raises:
            WsssError: accelerate is not installed, or there are more processes than micro-batches.
        """
        self = cls()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import Accelerator, InitProcessGroupKwargs
            except ImportError:
                remedy = 'pip install "wsss-seed[multi-gpu]"'
                raise WsssError(f"learning in several processes needs accelerate: {remedy}") from None
            # Processes wait for each other's share of the coarse seeds, which may take hours.
            accelerator: Any = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=2))])
            self._accelerator = accelerator
            self.index, self.count = accelerator.process_index, accelerator.num_processes
            self.device = str(accelerator.device)
            if self.count > micro_batches:
                raise WsssError(
                    f"{self.count} processes cannot share {micro_batches} micro-batches per iteration; start fewer, or "
                    "divide the batch further, e.g. --set train.gradient_accumulation_steps="
                    f"{self.count} and a smaller train.batch_size"
                )
        return self

    @property
    def first(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def summed(self, gradient: torch.Tensor, losses: dict[str, float]) -> tuple[torch.Tensor, dict[str, float]]:
        """Gradient and losses added up over the processes."""
        if self._accelerator is None:
            return gradient, losses
        values = torch.tensor(list(losses.values()), dtype=torch.float64, device=gradient.device)
        values = self._accelerator.reduce(values, "sum")
        return self._accelerator.reduce(gradient, "sum"), dict(zip(losses, values.tolist(), strict=True))
