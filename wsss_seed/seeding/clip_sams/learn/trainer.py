"""The learning loop of both tasks: frozen towers, context vectors, SGD. Source: FMA-WSSS, arXiv 2312.03585."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ....data.classes import ClassSet
from ....io.signals import interruptible
from ....models.clip import Clip
from ..cam import softmax_gradcam
from ..losses import cam_loss, contrastive_loss
from ..prompts import Contexts, frame_prompts, prompt_features, prompt_names, random_contexts
from . import checkpoint
from .checkpoint import LearningState
from .crops import CropBatch, PromptTrainingData, crop_batches
from .processes import Processes
from .schedule import learning_rate
from .settings import ContextSettings, LearnSettings, Task

_SAVE_EVERY = 100


@dataclass(frozen=True)
class Learned:
    """Learned contexts, the final state with the losses of every iteration, and whether learning was interrupted."""

    contexts: Contexts
    progress: LearningState
    interrupted: bool


def first_contexts(clip: Clip, class_set: ClassSet, settings: ContextSettings, seed: int) -> Contexts:
    """Random initial contexts of the prompts of a class set, the same for the same seed."""
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
    data: PromptTrainingData,
    settings: LearnSettings,
    *,
    path: Path,
    about: Mapping[str, Any],
    seed: int = 0,
    processes: Processes | None = None,
    step: Callable[[int, Mapping[str, float]], None] | None = None,
    workers: int = 2,
) -> Learned:
    """Learn the prompts of one task, resuming from the checkpoint if there is one.

    On the CPU the outcome does not depend on interruptions: images, crops and learning rate of an iteration follow from
    its number, and the checkpoint holds the rest of the state.

    Args:
        task: ``cls`` (multi-label contrastive loss on image-level labels) or ``seg`` (CAM activation loss on seeds).
        clip: the frozen model.
        class_set: its prompts and background phrases.
        data: the images, with seeds for ``seg``.
        settings: settings of the task.
        path: path of the checkpoint.
        about: everything that determines the outcome, as JSON values.
        seed: random seed of the initial vectors, the order and the augmentation.
        processes: the processes that share the micro-batches; by default this one alone.
        step: called after each iteration with its number and losses.
        workers: threads that make crops.

    Raises:
        WsssError: the checkpoint is damaged or was written with other settings.
    """
    processes = processes or Processes()
    train = settings.train
    stop = min(train.stop_iter or train.max_iters, train.max_iters)
    contexts = first_contexts(clip, class_set, settings.context, seed)
    frame = frame_prompts(clip, contexts.names, settings.context.n_ctx, settings.context.class_token_position)
    state = checkpoint.load(path, about) or LearningState(0, contexts.vectors.cpu(), None, {})
    vectors = state.vectors.to(clip.device).clone().requires_grad_()
    sgd = torch.optim.SGD([vectors], train.lr, train.momentum, weight_decay=train.weight_decay)
    if state.momentum is not None:
        sgd.state[vectors]["momentum_buffer"] = state.momentum.to(clip.device).clone()
    loss_of = _Loss(task, clip, len(class_set.names), settings)
    interrupted, saved = False, state.iteration
    curve = {name: list(values) for name, values in state.curve.items()}
    try:
        share = (processes.index, processes.count)
        with (
            interruptible(),
            closing(crop_batches(data, settings, seed, state.iteration, stop, share, workers)) as batches,
        ):
            for micro_batches in batches:
                lr = learning_rate(state.iteration, train)
                sgd.param_groups[0]["lr"] = lr
                text = prompt_features(clip, replace(contexts, vectors=vectors), frame)
                # A leaf, so that the text tower runs once per iteration, not once per micro-batch.
                leaf = text.detach().requires_grad_()
                losses: dict[str, float] = {}
                for crops in micro_batches:
                    total, parts = loss_of(crops, leaf)
                    (total / train.gradient_accumulation_steps).backward()
                    for name, value in parts.items():
                        losses[name] = losses.get(name, 0.0) + float(value) / train.gradient_accumulation_steps
                sgd.zero_grad(set_to_none=True)
                text.backward(torch.zeros_like(text) if leaf.grad is None else leaf.grad)
                assert vectors.grad is not None
                vectors.grad, losses = processes.reduce_sum(vectors.grad, losses)
                sgd.step()
                for name, number in {"lr": lr, **losses}.items():
                    curve.setdefault(name, []).append(number)
                # Replaced at once, so that an interrupt at any moment finds the state after a complete iteration.
                state = LearningState(
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


def _trimmed(state: LearningState) -> LearningState:
    """The state with the losses of its own iterations only; an interrupt may have come between the two."""
    return replace(state, curve={name: tuple(values[: state.iteration]) for name, values in state.curve.items()})


class _Loss:
    """The loss of a micro-batch as a function of the text features, in float32."""

    def __init__(self, task: Task, clip: Clip, classes: int, settings: LearnSettings):
        self.task, self.clip, self.classes, self.cam = task, clip, classes, settings.cam
        self.scale = settings.cam.logit_scale or clip.logit_scale

    def __call__(self, crops: CropBatch, text: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total loss, and its terms by name, detached."""
        if not len(crops.pixels):
            zero = text.sum() * 0
            names = ("loss",) if self.task == "cls" else ("loss_foreground", "loss_background")
            return zero, dict.fromkeys(names, zero.detach())
        clip, labels = self.clip, crops.labels.to(self.clip.device)
        tower = clip.encode_tokens(clip.normalise(crops.pixels))
        if self.task == "cls":
            with torch.no_grad():
                features = clip.last_block(tower)
            loss = contrastive_loss(self.scale * features @ text[: self.classes].T, labels)
            return loss, {"loss": loss.detach()}
        assert crops.label_maps is not None
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
        foreground, background = cam_loss(cams, labels, crops.label_maps)
        return foreground + background, {
            "loss_foreground": foreground.detach(),
            "loss_background": background.detach(),
        }
