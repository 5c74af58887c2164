"""Groups of parameters, their optimizer, and the learning rate as a function of the iteration alone."""

from __future__ import annotations

import torch
from torch import nn

from .networks import Network
from .settings import OptimizerSettings

_WARMUP_START = 1e-3


def build_optimizer(network: Network, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """SGD or AdamW over up to four groups of parameters: encoder or the rest, decaying or not.

    Each group has a ``factor`` by which ``set_lr`` multiplies the rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        owner = network.get_submodule(name.rpartition(".")[0])
        # Norms and biases have one dimension; tables of positions and levels are not called weight.
        matrix = parameter.ndim > 1 and name.endswith("weight") and not isinstance(owner, nn.Embedding)
        decays = settings.decay_norm_and_bias or matrix
        groups.setdefault((name.startswith(network.backbone), decays), []).append(parameter)
    table = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "factor": settings.backbone_lr_mult if in_backbone else 1.0,
        }
        for (in_backbone, decays), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(table, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(table, lr=settings.lr, betas=(0.9, 0.999))


def learning_rate(iteration: int, iterations: int, settings: OptimizerSettings) -> float:
    """The rate of an iteration (from 0): polynomial decay to ``end``, reached after the last iteration, below a line
    that rises during warm-up."""
    rate = settings.min_lr + (settings.lr - settings.min_lr) * (1 - iteration / iterations) ** settings.lr_power
    if iteration >= settings.warmup_iters:
        return rate
    return rate * (_WARMUP_START + (1 - _WARMUP_START) * iteration / settings.warmup_iters)


def set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
