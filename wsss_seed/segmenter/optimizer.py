"""Parameter groups, the optimizer, and the learning rate as a function of the iteration alone."""

from __future__ import annotations

import torch
from torch import nn

from .networks import Network
from .settings import OptimizerSettings

_WARMUP_START = 1e-3  # factor on the learning rate at iteration 0


def build_optimizer(network: Network, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """SGD or AdamW over up to four parameter groups: encoder or not, with weight decay or without.

    Each group has an ``lr_mult``, by which ``set_lr`` multiplies the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        owner = network.get_submodule(name.rpartition(".")[0])
        # Norms and biases are one-dimensional; tables of position and level embeddings are not named weight.
        matrix = parameter.ndim > 1 and name.endswith("weight") and not isinstance(owner, nn.Embedding)
        decays = settings.decay_norm_and_bias or matrix
        groups.setdefault((name.startswith(network.backbone), decays), []).append(parameter)
    table = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "lr_mult": settings.backbone_lr_mult if in_backbone else 1.0,
        }
        for (in_backbone, decays), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(table, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(table, lr=settings.lr, betas=(0.9, 0.999))


def learning_rate(iteration: int, iterations: int, settings: OptimizerSettings) -> float:
    """Learning rate at an iteration, counted from 0: polynomial decay to ``min_lr``, reached after the last iteration,
    multiplied by a linear ramp during warm-up."""
    lr = settings.min_lr + (settings.lr - settings.min_lr) * (1 - iteration / iterations) ** settings.lr_power
    if iteration >= settings.warmup_iters:
        return float(lr)
    return float(lr * (_WARMUP_START + (1 - _WARMUP_START) * iteration / settings.warmup_iters))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of each parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
