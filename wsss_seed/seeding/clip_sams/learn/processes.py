"""Learning in several processes, one GPU each."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch

from ....errors import UsageError
from ....io.extras import install_command
from ....models.process_group import leave_at_exit


class Processes:
    """The processes that ``accelerate launch`` started, or this one alone, which needs no accelerate.

    Each takes every n-th micro-batch of an iteration and all sum their gradients, so that the effective batch and, up
    to the order of additions, the outcome equal those of a single process.

    Attributes:
        index, count: index of this process and number of processes.
        first: whether this process writes files and messages.
        device: of this process, ``cuda:N`` or ``cpu``; None where it is alone and may choose.
    """

    def __init__(self, state: Any = None) -> None:
        """
        Args:
            state: accelerate's ``PartialState``; None for a single process.
        """
        self._state = state
        self.index: int = 0 if state is None else state.process_index
        self.count: int = 1 if state is None else state.num_processes
        self.device: str | None = None if state is None else _name(state.device)

    @classmethod
    def launched(cls, micro_batches: int) -> Processes:
        """The processes of this launch.

        Args:
            micro_batches: micro-batches per iteration, which the processes share.

        Raises:
            WsssError: accelerate is not installed, or there are more processes than micro-batches.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError:
            remedy = install_command("multi-gpu")
            raise UsageError(f"learning in several processes needs accelerate: {remedy}") from None
        # Processes wait for each other's share of the coarse seeds, which may take hours. Without `cpu`, processes on a
        # machine without a GPU would each take themselves for the only one.
        self = cls(PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2)))
        leave_at_exit()
        if self.count > micro_batches:
            raise UsageError(
                f"{self.count} processes cannot share {micro_batches} micro-batches per iteration; start fewer, or "
                "divide the batch further, e.g. `train.gradient_accumulation_steps`="
                f"{self.count} and a smaller train.batch_size"
            )
        return self

    @property
    def first(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        """Wait until all processes have come this far."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def reduce_sum(self, gradient: torch.Tensor, losses: dict[str, float]) -> tuple[torch.Tensor, dict[str, float]]:
        """Gradient and losses summed over the processes."""
        if self._state is None:
            return gradient, losses
        from accelerate.utils import reduce

        values = reduce(torch.tensor(list(losses.values()), dtype=torch.float64, device=gradient.device), "sum")
        return reduce(gradient, "sum"), dict(zip(losses, values.tolist(), strict=True))


def _name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else str(device)
