"""The training loop: an off-the-shelf network, crops, an optimizer, and a checkpoint that holds everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.classes import ClassSet
from ..errors import WsssError
from ..io.curve import write_curve
from ..io.signals import stoppable, terminable
from ..output.run_folder import settings_difference
from . import checkpoint
from .checkpoint import Scale, Segmenter, normalised
from .crops import Source, stream
from .networks import Network, build
from .optimizer import build_optimizer, learning_rate, set_lr
from .settings import Recipe, SegmenterSettings, TrainSettings

BEST, LAST, METRICS = "best.pt", "last.pt", "metrics"


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        iteration: how many are done.
        best: highest mIoU on the validation split so far, NaN before the first.
        best_iteration: when that was.
        curve: name -> value in each iteration.
    """

    iteration: int
    best: float
    best_iteration: int
    curve: dict[str, list[float]]


class _Objective(nn.Module):
    """The losses as a forward pass, which is what accelerate wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        return self.network.loss(pixels, labels, weights)


def build_accelerator(settings: SegmenterSettings, device: str) -> Any:
    """The processes that ``accelerate launch`` started, or this one alone, and where they compute.

    Args:
        settings: of training.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, for a process alone.

    Raises:
        WsssError: accelerate is not installed, there is no such device, or the batch cannot be shared out.
    """
    import os

    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError:
        raise WsssError('training needs accelerate: pip install "wsss-seed[segmenter]"') from None
    gpu = torch.cuda.is_available()
    if device.startswith("cuda") and not gpu:
        raise WsssError(f"device {device}: no GPU that torch can use; give --device cpu")
    on_cpu = device == "cpu" or not gpu
    if device.startswith("cuda:") and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        try:
            torch.cuda.set_device(device)
        except (RuntimeError, AssertionError, ValueError):
            raise WsssError(f"device {device}: there is no such GPU; there are {torch.cuda.device_count()}") from None
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    train = settings.train
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no" if on_cpu or train.precision == "fp32" else train.precision,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        # The last norm of a Swin encoder is not part of what Mask2Former computes.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=settings.network.name == "mask2former")],
    )
    parts = train.gradient_accumulation_steps * accelerator.num_processes
    if train.batch_size % parts:
        near = parts * max(1, train.batch_size // parts)
        raise WsssError(
            f"a batch of {train.batch_size} images cannot be shared by {accelerator.num_processes} processes in "
            f"{train.gradient_accumulation_steps} parts each; give a multiple, e.g. --set train.batch_size={near}"
        )
    return accelerator


def first_network(recipe: Recipe, weights: str, classes: int, seed: int) -> Network:
    """The network as training begins with it, the same for the same seed. Raises WsssError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(recipe.settings.network, classes, weights)


def train(
    network: Network,
    source: Source,
    class_set: ClassSet,
    recipe: Recipe,
    out: Path,
    *,
    about: Mapping[str, Any],
    accelerator: Any,
    evaluate: Callable[[Segmenter], float] | None = None,
    seed: int = 0,
    workers: int = 2,
    step: Callable[[int], None] | None = None,
) -> tuple[Progress, bool]:
    """Train, going on from OUT/last.pt where it is.

    On the CPU the weights do not depend on where a run was interrupted: order, crops, rate and chance of every
    iteration follow from its number, and the checkpoint holds the rest.

    Args:
        network: with its first weights.
        source: the images and masks.
        class_set: their classes.
        recipe: the settings.
        out: the folder; gets last.pt, best.pt (the highest mIoU), metrics.csv and metrics.png.
        about: everything that determines the outcome, as JSON values; a resumed run must have the same.
        accelerator: of ``build_accelerator``.
        evaluate: gives the mIoU of a segmenter on the validation split; called by every process.
        seed: of crops, order and dropout.
        workers: processes that make crops.
        step: called after each iteration with its number.

    Returns:
        How far it came, and whether it was asked to stop before the end.

    Raises:
        WsssError: the checkpoint is damaged or of other settings, or the loss is no number any more.
        OSError: a file cannot be written.
        KeyboardInterrupt: asked to stop where it cannot wait for the end of an iteration.
    """
    settings = recipe.settings
    options, first = settings.train, accelerator.is_main_process
    _check_batch(network, options, accelerator.num_processes)
    objective = _Objective(network)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # torch's own would drop the activations of timm's norms

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

    def save() -> None:
        if not first:
            return
        over = state.iteration == options.max_iters
        kept: dict[str, Any] = {
            "iteration": state.iteration,
            "best": state.best,
            "best_iteration": state.best_iteration,
            "curve": {name: torch.tensor(values, dtype=torch.float64) for name, values in state.curve.items()},
            "about": dict(about),
        }
        if not over:  # what only a continuation needs
            kept |= {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            kept["ema"] = None if ema is None else ema.state_dict()
            kept["scaler"] = None if accelerator.scaler is None else accelerator.scaler.state_dict()
        write_curve(out / METRICS, state.curve)
        history = {"iteration": state.iteration, "miou": _known(state.curve["miou"][-1])}
        checkpoint.save(out / LAST, segmenter(history), settings.network, training=kept)

    interrupted = False
    batches = iter(
        stream(
            source,
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
    # Of several processes one that stops by itself would leave the others waiting for it.
    with stoppable() if accelerator.num_processes == 1 else terminable() as asked:
        while state.iteration < options.max_iters:
            lr = learning_rate(state.iteration, options.max_iters, settings.optimizer)
            set_lr(optimizer, lr)
            torch.manual_seed(_chance(seed, state.iteration, accelerator.process_index))
            network.train()
            losses: dict[str, torch.Tensor] = {}
            for _ in range(options.gradient_accumulation_steps):
                parts = _to_device(_next(batches, asked), accelerator.device)
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
                raise WsssError(
                    f"the loss is no number any more in iteration {state.iteration}; begin again with a lower rate, "
                    f"e.g. --set optimizer.lr={settings.optimizer.lr / 10:g} --overwrite"
                )
            for name, value in {"lr": lr, **means, "miou": float("nan")}.items():
                state.curve.setdefault(name, []).append(value)
            over = state.iteration == options.max_iters
            stop = asked()
            if evaluate is not None and (over or state.iteration % options.eval_interval == 0):
                miou = evaluate(replace(segmenter({}), network=result.eval()))
                state.curve["miou"][-1] = miou
                if not miou <= state.best:
                    state.best, state.best_iteration = miou, state.iteration
                    if first:
                        history = {"iteration": state.iteration, "miou": _known(miou)}
                        checkpoint.save(out / BEST, segmenter(history), settings.network)
                save()
            elif over or stop or state.iteration % options.checkpoint_interval == 0:
                save()
            if step is not None:
                step(state.iteration)
            if stop and not over:
                interrupted = True
                break
    return state, interrupted


def _load(
    path: Path, about: Mapping[str, Any], network: Network, optimizer: Any, ema: Any, accelerator: Any
) -> Progress:
    """The state that a checkpoint holds, put into its places; the beginning where there is none."""
    if not path.exists():
        return Progress(0, float("nan"), 0, {})
    content = checkpoint.read(path)
    remedy = "give another --out, or --overwrite to begin again"
    kept = content.get("training")
    if not isinstance(kept, dict):
        raise WsssError(f"{path}: a segmenter without the state of its training, which cannot go on; {remedy}")
    damaged = WsssError(f"{path}: damaged checkpoint; {remedy}")
    if not isinstance(kept.get("about"), dict):
        raise damaged
    difference = settings_difference(kept["about"], dict(about))
    if difference:
        raise WsssError(f"{path.parent}: training began here with other settings: {difference}; {remedy}")
    try:
        if "network" in kept:
            network.load_state_dict(kept["network"])
            optimizer.load_state_dict(kept["optimizer"])
            if ema is not None:
                ema.load_state_dict(kept["ema"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(kept["scaler"])
        curve = {str(name): [float(value) for value in values.tolist()] for name, values in kept["curve"].items()}
        return Progress(int(kept["iteration"]), float(kept["best"]), int(kept["best_iteration"]), curve)
    except Exception:  # of whatever types its values are
        raise damaged from None


def _check_batch(network: Network, options: TrainSettings, processes: int) -> None:
    size = options.batch_size // (options.gradient_accumulation_steps * processes)
    if size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()):
        raise WsssError(
            "batch normalisation needs two images at a time at least: give a larger train.batch_size or a smaller "
            "train.gradient_accumulation_steps"
        )


def _next(batches: Iterator[list[torch.Tensor]], asked: Callable[[], bool]) -> list[torch.Tensor]:
    """The next micro-batch. What goes wrong in a worker arrives with its traceback, of which the last line matters."""
    try:
        return next(batches)
    except WsssError as error:
        raise WsssError(error.args[0].strip().splitlines()[-1].removeprefix("wsss_seed.errors.WsssError: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        if asked():  # a scheduler tells every process to end, also those that make crops
            raise KeyboardInterrupt from None
        raise WsssError(
            "a process that makes crops was killed, as the system does when memory runs out; what is finished "
            "stays: give fewer --workers and the same command again"
        ) from None


def _to_device(
    parts: list[torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    pixels, labels, *rest = (part.to(device, non_blocking=True) for part in parts)
    return normalised(pixels), labels.long(), rest[0].float() / 255 if rest else None


def _chance(seed: int, iteration: int, process: int) -> int:
    """The seed of torch's generator in an iteration, so that dropout too is the same after a resume."""
    return int(np.random.default_rng([seed, 2, iteration, process]).integers(2**62))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
