"""Softmax-GradCAM: class activation maps from the gradient of a softmax over prompts.

Source: CLIP-ES (arXiv 2212.09506), with learned prompts in FMA-WSSS (arXiv 2312.03585). Details as in the released
code of FMA-WSSS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from ...models.clip import Clip
    from ...models.towers import Tower

Weights = Literal["channel", "element"]
Softmax = Literal["masked", "present", "all"]

# Gradients of attention weights of the last block, over images, heads and classes, that are in memory together.
_MAX_ATTENTION_GRADIENTS = 2**27


def masked_softmax(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Probabilities over the classes present and all background prompts, as in FMA-WSSS.

    Two peculiarities belong to the method: the maximum is taken over all columns, absent classes too, and 1e-5 is
    added to the sum; the derivative passes through both. Where an absent class has by far the highest logit, the
    probabilities and their gradients vanish.

    Args:
        logits: float (N, G), K foreground columns first.
        labels: bool (N, K), the classes present.

    Returns:
        float (N, G), 0 for absent classes.
    """
    kept = (logits - logits.amax(1, keepdim=True)).exp() * _competing(logits, labels)
    return kept / (kept.sum(1, keepdim=True) + 1e-5)


def present_softmax(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The ordinary softmax over the classes present and all background prompts, as in CLIP-ES."""
    return logits.masked_fill(~_competing(logits, labels), -torch.inf).softmax(1)


def all_softmax(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The ordinary softmax over all prompts."""
    return logits.softmax(1)


SOFTMAX: Mapping[Softmax, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "masked": masked_softmax,
    "present": present_softmax,
    "all": all_softmax,
}


def _competing(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """bool (N, G): classes present and background."""
    background = labels.new_ones(len(labels), logits.shape[1] - labels.shape[1], dtype=torch.bool)
    return torch.cat([labels.bool(), background], 1)


def class_logits(features: torch.Tensor, text: torch.Tensor, scale: float) -> torch.Tensor:
    """Scaled cosines (N, G) of image features (N, D) and text features (G, D), both of unit length."""
    return scale * features @ text.T


def softmax_gradcam(
    clip: Clip,
    tower: Tower,
    text: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: Weights = "channel",
    softmax: Softmax = "masked",
    scale: float | None = None,
    create_graph: bool = False,
) -> torch.Tensor:
    """Class activation maps of all classes present in all images.

    The probability of each class is differentiated with respect to A, the output of the last block's first LayerNorm,
    for all classes of all images in one batched vector-Jacobian product: the image tower runs forward once, and only
    the last block runs backward.

    Args:
        clip: the model.
        tower: from ``clip.encode_tokens``, N images of one size.
        text: float32 (G, D) of unit length, the K classes' first, then background prompts.
        labels: bool (N, K), the classes present.
        weights: ``channel``, as in Grad-CAM: channels are weighted by the gradient averaged over the patches (without
            the class token). ``element``: activation times gradient at each patch.
        softmax: probability that is differentiated.
        scale: factor on the cosine similarities; by default CLIP's logit scale.
        create_graph: keep the maps differentiable in ``text``, for prompt learning. A is a constant in the product
            either way.

    Returns:
        float32 (P, h, w), signed and unscaled, one map per True of ``labels`` in row-major order.
    """
    labels = labels.to(tower.tokens.device).bool()
    images, classes = labels.nonzero(as_tuple=True)
    if not len(images):
        return tower.tokens.new_zeros(0, *tower.grid) * (text.sum() if create_graph else 1)
    with torch.enable_grad(), torch.autocast(tower.tokens.device.type, enabled=False):
        block = clip.open_last_block(tower)
        mixed = block.mixed.detach().requires_grad_()
        logits = class_logits(block.features(mixed), text.float(), clip.logit_scale if scale is None else scale)
        probability = SOFTMAX[softmax](logits, labels)
        # Images are independent, so the k-th class of every image is differentiated together.
        rank = labels.long().cumsum(1)[images, classes] - 1
        chosen = probability.new_zeros(int(rank.max()) + 1, *probability.shape)
        chosen[rank, images, classes] = 1
        patches = block.activations[:, 1:]
        maps: list[torch.Tensor] = []
        for part in chosen.split(_classes_at_once(clip, tower)):
            (cotangents,) = torch.autograd.grad(
                probability, mixed, part, retain_graph=True, create_graph=create_graph, is_grads_batched=True
            )
            if weights == "channel":
                maps.append((patches @ block.mean_gradient(cotangents)[..., None])[..., 0])
            else:
                maps.append((block.gradient(cotangents) * patches).sum(-1))
        found = torch.cat(maps)[rank, images]
    return (found if create_graph else found.detach()).view(-1, *tower.grid)


def _classes_at_once(clip: Clip, tower: Tower) -> int:
    """Number of classes per image that are differentiated together."""
    images, length, _ = tower.tokens.shape
    return max(1, _MAX_ATTENTION_GRADIENTS // (images * clip.heads * length * length))
