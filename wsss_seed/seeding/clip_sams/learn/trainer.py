"""The learning loop of both tasks: frozen towers, context vectors, SGD (A2, A5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ....data.classes import ClassSet
from ....io.signals import terminable
from ....models.clip import Clip
from ..cam import softmax_gradcam
from ..losses import cam_loss, contrastive_loss
from ..prompts import Contexts, frame_prompts, prompt_features, prompt_names, random_contexts
from . import checkpoint
from .checkpoint import Progress
from .crops import Crops, Source, stream
from .processes import Processes
from .schedule import learning_rate
from .settings import ContextSettings, LearnSettings, Task

_SAVE_EVERY = 100


@dataclass(frozen=True)
class Learned:
    """The outcome: the contexts, the losses of every iteration, and whether learning was stopped before its end."""

    contexts: Contexts
    progress: Progress
    interrupted: bool


def first_contexts(clip: Clip, class_set: ClassSet, settings: ContextSettings, seed: int) -> Contexts:
    """Random contexts of the prompts of a class set, the same for the same seed."""
    return random_contexts(
        clip,
        prompt_names(class_set, empty_background=settings.background == "empty"),
        length=settings.n_ctx,
        per_name=settings.class_specific,
        position=settings.class_token_position,
        std=settings.init_std,
        generator=torch.Generator().manual_seed(seed),
    )


def learn(
    task: Task,
    clip: Clip,
    class_set: ClassSet,
    source: Source,
    settings: LearnSettings,
    *,
    path: Path,
    about: Mapping[str, Any],
    seed: int = 0,
    processes: Processes | None = None,
    step: Callable[[int, Mapping[str, float]], None] | None = None,
    workers: int = 2,
) -> Learned:
    """Learn the prompts of one task, going on from the checkpoint where there is one.

    On the CPU the outcome does not depend on where a run was interrupted: every iteration's images, crops and rate
    follow from its number, and the checkpoint holds the rest of the state.

    Args:
        task: ``cls`` (multi-label contrastive loss on image-level labels) or ``seg`` (CAM activation loss on seeds).
        clip: the frozen model.
        class_set: its prompts and background phrases.
        source: the images, with seeds for ``seg``.
        settings: of the task.
        path: the checkpoint.
        about: what determines the outcome.
        seed: of the first vectors, the order and the augmentation.
        processes: the processes that share the micro-batches; by default this one alone.
        step: called after each iteration with its number and losses.
        workers: threads that make crops.

    Raises:
        WsssError: the checkpoint is damaged or of other settings.
    """
    processes = processes or Processes()
    train = settings.train
    stop = min(train.stop_iter or train.max_iters, train.max_iters)
    contexts = first_contexts(clip, class_set, settings.context, seed)
    frame = frame_prompts(clip, contexts.names, settings.context.n_ctx, settings.context.class_token_position)
    state = checkpoint.load(path, about) or Progress(0, contexts.vectors.cpu(), None, {})
    vectors = state.vectors.to(clip.device).clone().requires_grad_()
    sgd = torch.optim.SGD([vectors], train.lr, train.momentum, weight_decay=train.weight_decay)
    if state.momentum is not None:
        sgd.state[vectors]["momentum_buffer"] = state.momentum.to(clip.device).clone()
    loss_of = _Loss(task, clip, len(class_set.names), settings)
    interrupted, saved = False, state.iteration
    curve = {name: list(values) for name, values in state.curve.items()}
    try:
        share = (processes.index, processes.count)
        with terminable(), closing(stream(source, settings, seed, state.iteration, stop, share, workers)) as batches:
            for micro_batches in batches:
                lr = learning_rate(state.iteration, train)
                sgd.param_groups[0]["lr"] = lr
                text = prompt_features(clip, replace(contexts, vectors=vectors), frame)
                leaf = text.detach().requires_grad_()  # so that the text tower is passed once, not once a micro-batch
                losses: dict[str, float] = {}
                for crops in micro_batches:
                    total, parts = loss_of(crops, leaf)
                    (total / train.gradient_accumulation_steps).backward()
                    for name, value in parts.items():
                        losses[name] = losses.get(name, 0.0) + float(value) / train.gradient_accumulation_steps
                sgd.zero_grad(set_to_none=True)
                text.backward(torch.zeros_like(text) if leaf.grad is None else leaf.grad)
                assert vectors.grad is not None
                vectors.grad, losses = processes.summed(vectors.grad, losses)
                sgd.step()
                for name, number in {"lr": lr, **losses}.items():
                    curve.setdefault(name, []).append(number)
                # Replaced in one go, so that an interrupt at any moment finds the state after a whole iteration.
                state = Progress(
                    state.iteration + 1,
                    vectors.detach().cpu().clone(),
                    sgd.state[vectors]["momentum_buffer"].detach().cpu().clone() if train.momentum else None,
                    curve,  # type: ignore[arg-type]
                )
                if step is not None:
                    step(state.iteration, losses)
                if processes.first and state.iteration % _SAVE_EVERY == 0:
                    checkpoint.save(path, _trimmed(state), about)
                    saved = state.iteration
    except KeyboardInterrupt:
        interrupted = True
    state = _trimmed(state)
    if processes.first and saved != state.iteration:
        checkpoint.save(path, state, about)
    return Learned(replace(contexts, vectors=state.vectors), state, interrupted)


def _trimmed(state: Progress) -> Progress:
    """The state with the losses of its own iterations only; an interrupt may have come between them."""
    return replace(state, curve={name: tuple(values[: state.iteration]) for name, values in state.curve.items()})


class _Loss:
    """The loss of a micro-batch as a function of the text features.

    Half precision, on a GPU, is for the frozen blocks before the last only: everything that is differentiated stays in
    float32, so that no gradient underflows (T32) and no loss scale is needed.
    """

    def __init__(self, task: Task, clip: Clip, classes: int, settings: LearnSettings):
        self.task, self.clip, self.classes, self.cam = task, clip, classes, settings.cam
        self.scale = settings.cam.logit_scale or clip.logit_scale

    def __call__(self, crops: Crops, text: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and it or its parts by name, detached."""
        if not len(crops.pixels):
            zero = text.sum() * 0
            names = ("loss",) if self.task == "cls" else ("loss_foreground", "loss_background")
            return zero, dict.fromkeys(names, zero.detach())
        clip, labels = self.clip, crops.labels.to(self.clip.device)
        with torch.autocast(clip.device.type, enabled=clip.device.type == "cuda"):
            tower = clip.encode_tokens(clip.normalise(crops.pixels))
        if self.task == "cls":
            with torch.no_grad():
                features = clip.last_block(tower)
            loss = contrastive_loss(self.scale * features @ text[: self.classes].T, labels)
            return loss, {"loss": loss.detach()}
        assert crops.seeds is not None
        cams = softmax_gradcam(
            clip,
            tower,
            text,
            labels,
            weights=self.cam.weights,
            softmax=self.cam.softmax,
            scale=self.scale,
            create_graph=True,
        )
        foreground, background = cam_loss(cams, labels, crops.seeds)
        return foreground + background, {
            "loss_foreground": foreground.detach(),
            "loss_background": background.detach(),
        }
