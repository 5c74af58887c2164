"""At which size the parts run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """Where and how large.

    Attributes:
        device: device of the models, ``cuda:0`` or ``cpu``.
        small: whether to run the miniatures on a few images instead of models of full size.
    """

    device: str
    small: bool

    @classmethod
    def here(cls, small: bool) -> Scale:
        """On the GPU if there is one, else small on the CPU."""
        import torch

        gpu = torch.cuda.is_available()
        return cls("cuda:0" if gpu else "cpu", small or not gpu)

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to try, fp32 first; few CPUs compute in fp16."""
        return ("fp32", "bf16", "fp16") if self.gpu else ("fp32", "bf16")

    def pick(self, full: T, small: T) -> T:
        """The value for this size."""
        return small if self.small else full
