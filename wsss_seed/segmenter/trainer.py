"""The training loop: crops, optimizer, evaluation, and checkpoints from which training resumes exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.classes import ClassSet
from ..errors import CheckpointError, RunFolderError, UsageError, WsssError
from ..io import steps
from ..io.curve import write_curve
from ..io.extras import install_command
from ..io.signals import deferred_stop, interruptible
from ..models.precision import check_device
from ..models.process_group import leave_at_exit
from ..output.run_folder import settings_difference
from . import checkpoint
from .checkpoint import Scale, Segmenter, normalised
from .crops import TrainingData, crop_loader
from .networks import Network, build
from .optimizer import build_optimizer, learning_rate, set_lr
from .settings import Recipe, SegmenterSettings, TrainSettings

BEST, LAST, METRICS = "best.pt", "last.pt", "metrics"


@dataclass
class TrainingState:
    """Progress of a training run.

    Attributes:
        iteration: completed iterations.
        best: highest mIoU on the validation split so far; NaN before the first evaluation.
        best_iteration: iteration of that evaluation.
        curve: name -> value at each iteration.
    """

    iteration: int
    best: float
    best_iteration: int
    curve: dict[str, list[float]]


class _Objective(nn.Module):
    """Computes the losses in ``forward``, which accelerate wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        return self.network.loss(pixels, labels, weights)


def build_accelerator(settings: SegmenterSettings, device: str) -> Any:
    """Accelerator for the processes that ``accelerate launch`` started, or for this one alone.

    Args:
        settings: training settings.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, for a single process.

    Raises:
        WsssError: accelerate is not installed, there is no such device or it is not supported, or the batch cannot be
            split evenly.
    """
    import os

    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError:
        raise UsageError(f"training needs accelerate: {install_command('segmenter')}") from None
    check_device(device)
    gpu = torch.cuda.is_available()
    if device.startswith("cuda") and not gpu:
        raise UsageError(f"device {device}: no GPU that torch can use; give `device` cpu")
    on_cpu = device == "cpu" or not gpu
    if device.startswith("cuda:") and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        try:
            torch.cuda.set_device(device)
        except (RuntimeError, AssertionError, ValueError):
            raise UsageError(f"device {device}: no such GPU; this machine has {torch.cuda.device_count()}") from None
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    train = settings.train
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no" if on_cpu or train.precision == "fp32" else train.precision,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        # The last norm of a Swin encoder is not part of what Mask2Former computes.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=settings.network.name == "mask2former")],
    )
    leave_at_exit()
    parts = train.gradient_accumulation_steps * accelerator.num_processes
    if train.batch_size % parts:
        near = parts * max(1, train.batch_size // parts)
        raise UsageError(
            f"a batch of {train.batch_size} images cannot be split between {accelerator.num_processes} processes and "
            f"{train.gradient_accumulation_steps} accumulation steps; give a multiple, e.g. "
            f"`train.batch_size`={near}"
        )
    return accelerator


def first_network(recipe: Recipe, weights: str, classes: int, seed: int) -> Network:
    """The initial network, the same for the same seed. Raises WsssError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(recipe.settings.network, classes, weights)


def train(
    network: Network,
    data: TrainingData,
    class_set: ClassSet,
    recipe: Recipe,
    out: Path,
    *,
    about: Mapping[str, Any],
    accelerator: Any,
    evaluate: Callable[[Segmenter], float] | None = None,
    seed: int = 0,
    workers: int = 2,
    step: Callable[[TrainingState], None] | None = None,
) -> tuple[TrainingState, bool]:
    """Train, resuming from OUT/last.pt if it exists.

    On the CPU the weights do not depend on interruptions: order, crops, learning rate and random seed of an iteration
    follow from its number, and the checkpoint holds the rest of the state.

    Args:
        network: the initial network.
        data: images and label maps.
        class_set: their classes.
        recipe: the settings.
        out: output folder for last.pt, best.pt (the highest mIoU), metrics.csv and metrics.png.
        about: everything that determines the outcome, as JSON values; a resumed run must have the same.
        accelerator: from ``build_accelerator``.
        evaluate: returns the mIoU of a segmenter on the validation split; called by every process. An interrupt ends
            it at once, and the next run repeats it.
        seed: random seed of crops, order and dropout.
        workers: worker processes that make crops.
        step: called after each iteration, before an evaluation of it.

    Returns:
        The final state, and whether training was interrupted before its end.

    Raises:
        WsssError: the checkpoint is damaged or was written with other settings, or the loss is not finite.
        OSError: a file cannot be written.
        KeyboardInterrupt: interrupted where training cannot wait for the end of an iteration.
    """
    settings = recipe.settings
    options, first = settings.train, accelerator.is_main_process
    _check_batch(network, options, accelerator.num_processes)
    objective = _Objective(network)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's would drop the activations of timm's norms

        network = convert_sync_batchnorm(network)
        objective = _Objective(network)
    optimizer = build_optimizer(network, settings.optimizer)
    wrapped, stepper = accelerator.prepare(objective, optimizer)
    ema = None
    if options.ema_decay:
        ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay), use_buffers=True)
    state = _load(out / LAST, about, network, optimizer, ema, accelerator)
    result: Any = ema.module if ema is not None else network

    def segmenter(history: Mapping[str, Any]) -> Segmenter:
        scale = Scale(settings.augment.shortest_edge, settings.augment.longest_edge)
        return Segmenter(result, class_set, scale, about, history)

    def evaluation_is_due() -> bool:
        at = state.iteration == options.max_iters or state.iteration % options.eval_interval == 0
        return evaluate is not None and state.iteration > 0 and at and math.isnan(state.curve["miou"][-1])

    def save() -> None:
        if not first:
            return
        finished = state.iteration == options.max_iters and not evaluation_is_due()
        kept: dict[str, Any] = {
            "iteration": state.iteration,
            "best": state.best,
            "best_iteration": state.best_iteration,
            "curve": {name: torch.tensor(values, dtype=torch.float64) for name, values in state.curve.items()},
            "about": dict(about),
        }
        if not finished:  # needed only to resume
            kept |= {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            kept["ema"] = None if ema is None else ema.state_dict()
            kept["scaler"] = None if accelerator.scaler is None else accelerator.scaler.state_dict()
        write_curve(out / METRICS, state.curve)
        history = {"iteration": state.iteration, "miou": _finite(state.curve["miou"][-1])}
        checkpoint.save(out / LAST, segmenter(history), settings.network, training=kept)

    interrupted = False
    batches = iter(
        crop_loader(
            data,
            settings.augment,
            seed=seed,
            batch=options.batch_size,
            accumulate=options.gradient_accumulation_steps,
            start=state.iteration,
            stop=options.max_iters,
            share=(accelerator.process_index, accelerator.num_processes),
            workers=workers if state.iteration < options.max_iters else 0,
            pin=accelerator.device.type == "cuda",
        )
    )
    # With several processes, one that stopped by itself would leave the others waiting for it.
    alone, stop = accelerator.num_processes == 1, False
    with deferred_stop() if alone else interruptible() as asked, _deaths_of_workers(asked):
        while True:
            if evaluation_is_due():
                assert evaluate is not None
                try:
                    with interruptible():
                        if asked():
                            raise KeyboardInterrupt
                        miou = evaluate(replace(segmenter({}), network=result.eval()))
                except KeyboardInterrupt:
                    if not alone:
                        raise
                    save()
                    interrupted = True
                    break
                state.curve["miou"][-1] = miou
                if not miou <= state.best:
                    state.best, state.best_iteration = miou, state.iteration
                    if first:
                        history = {"iteration": state.iteration, "miou": _finite(miou)}
                        checkpoint.save(out / BEST, segmenter(history), settings.network)
                if first:
                    text = "iteration %d: mIoU %.2f %%, best %.2f %% (iteration %d)"
                    steps.log.info(text, state.iteration, 100 * miou, 100 * state.best, state.best_iteration)
                save()
            if state.iteration >= options.max_iters:
                break
            if stop:
                interrupted = True
                break
            lr = learning_rate(state.iteration, options.max_iters, settings.optimizer)
            set_lr(optimizer, lr)
            torch.manual_seed(_torch_seed(seed, state.iteration, accelerator.process_index))
            network.train()
            losses: dict[str, torch.Tensor] = {}
            for _ in range(options.gradient_accumulation_steps):
                parts = _to_device(_next(batches), accelerator.device)
                with accelerator.accumulate(wrapped):
                    found = wrapped(*parts)
                    accelerator.backward(sum(found.values()))
                    if accelerator.sync_gradients and settings.optimizer.clip_grad_norm:
                        accelerator.clip_grad_norm_(network.parameters(), settings.optimizer.clip_grad_norm)
                    stepper.step()
                    stepper.zero_grad(set_to_none=True)
                for name, value in found.items():
                    losses[name] = losses.get(name, 0.0) + value.detach() / options.gradient_accumulation_steps
            if ema is not None:
                ema.update_parameters(network)
            state.iteration += 1
            means = {name: float(accelerator.reduce(value, "mean")) for name, value in losses.items()}
            if not all(map(math.isfinite, means.values())):
                raise UsageError(
                    f"the loss is not finite at iteration {state.iteration}; start over with a lower learning rate, "
                    f"e.g. `optimizer.lr`={settings.optimizer.lr / 10:g} `overwrite`"
                )
            for name, value in {"lr": lr, **means, "miou": float("nan")}.items():
                state.curve.setdefault(name, []).append(value)
            if step is not None:
                step(state)
            stop, finished = asked(), state.iteration == options.max_iters
            if not evaluation_is_due() and (finished or stop or state.iteration % options.checkpoint_interval == 0):
                save()
    return state, interrupted


def _load(
    path: Path, about: Mapping[str, Any], network: Network, optimizer: Any, ema: Any, accelerator: Any
) -> TrainingState:
    """Restore the state from a checkpoint; the initial state if there is none."""
    if not path.exists():
        return TrainingState(0, float("nan"), 0, {})
    content = checkpoint.read(path)
    remedy = "give another `out`, or `overwrite` to start over"
    kept = content.get("training")
    if not isinstance(kept, dict):
        raise CheckpointError(
            f"{path}: a segmenter without training state, from which training cannot resume; {remedy}"
        )
    damaged = CheckpointError(f"{path}: damaged checkpoint; {remedy}")
    if not isinstance(kept.get("about"), dict):
        raise damaged
    difference = settings_difference(kept["about"], dict(about))
    if difference:
        raise RunFolderError(f"{path.parent}: training started here with other settings: {difference}; {remedy}")
    try:
        if "network" in kept:
            network.load_state_dict(kept["network"])
            optimizer.load_state_dict(kept["optimizer"])
            if ema is not None:
                ema.load_state_dict(kept["ema"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(kept["scaler"])
        curve = {str(name): [float(value) for value in values.tolist()] for name, values in kept["curve"].items()}
        if len(curve.get("miou", [])) != kept["iteration"]:
            raise ValueError("the curve is of other iterations")
        return TrainingState(int(kept["iteration"]), float(kept["best"]), int(kept["best_iteration"]), curve)
    except Exception:  # values may be of any type
        raise damaged from None


def _check_batch(network: Network, options: TrainSettings, processes: int) -> None:
    size = options.batch_size // (options.gradient_accumulation_steps * processes)
    if size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()):
        raise UsageError(
            "batch normalisation needs at least two images at a time: give a larger train.batch_size or a smaller "
            "train.gradient_accumulation_steps"
        )


def _next(batches: Iterator[list[torch.Tensor]]) -> list[torch.Tensor]:
    """The next micro-batch. The message of an error in a worker is the last line of its traceback."""
    try:
        return next(batches)
    except WsssError as error:
        raise type(error)(re.sub(r"^wsss_seed\.errors\.\w+: ", "", error.args[0].strip().splitlines()[-1])) from None


@contextmanager
def _deaths_of_workers(asked: Callable[[], bool]) -> Iterator[None]:
    """One line about a worker process that was killed. torch raises that anywhere, from its handler of SIGCHLD, or on
    the way from the worker's files and sockets."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        if asked():  # a scheduler killed all processes, workers included
            raise KeyboardInterrupt from None
        raise UsageError(
            "a worker process was killed, probably because memory ran out; progress is kept: run the same command "
            "again with fewer `workers`"
        ) from None


def _to_device(
    parts: list[torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    pixels, labels, *rest = (part.to(device, non_blocking=True) for part in parts)
    return normalised(pixels), labels.long(), rest[0].float() / 255 if rest else None


def _torch_seed(seed: int, iteration: int, process: int) -> int:
    """Seed of torch's generator at an iteration, so that dropout too is the same after a resume."""
    return int(np.random.default_rng([seed, 2, iteration, process]).integers(2**62))


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
