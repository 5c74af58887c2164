"""Image classification with CLIP on global and local views.

The paper behind dino-sam (arXiv 2405.06586) replaces image-level labels by CLIP's classification, but its code is not
released. Views, templates and thresholds are our own. The local views are half-overlapping windows, in which small
objects fill more of CLIP's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.classes import ClassSet
from ...errors import UsageError

if TYPE_CHECKING:
    from ...models.clip import Clip


def to_numpy(x: Any) -> np.ndarray:
    """A tensor on any device as a float32 array."""
    return np.asarray(x.detach().cpu().numpy() if hasattr(x, "detach") else x, np.float32)


def negatives(class_set: ClassSet) -> tuple[str, ...]:
    """Background phrases that name no foreground class ("keyboard" is background on VOC, but a class on COCO)."""
    foreground = {p.casefold() for p in (*class_set.names, *(p for ps in class_set.phrases for p in ps))}
    return tuple(p for p in class_set.background if p.casefold() not in foreground)


def far_from(features: np.ndarray, classes: np.ndarray, cosine: float) -> np.ndarray:
    """bool (n,), the text features (n, D) whose cosine with every class (K, D) is at most ``cosine``: a word too near a
    class would take its images."""
    result: np.ndarray = (features @ classes.T).max(1) <= np.float32(cosine)
    return result


def text_features(clip: Clip, phrases: Sequence[Sequence[str]], templates: Sequence[str]) -> np.ndarray:
    """One text feature per group of phrases: the normalised mean of the normalised embeddings of all its sentences, one
    for each phrase and template.

    Args:
        clip: the model.
        phrases: groups of synonyms.
        templates: sentences with the placeholder ``{}`` for the phrase.

    Returns:
        float32 (len(phrases), D), rows of unit length.

    Raises:
        WsssError: no templates, or one without ``{}``.
    """
    if not templates or any("{}" not in t for t in templates):
        raise UsageError("clip.templates: expected at least one sentence, each with {} for the phrase")
    sentences = [t.replace("{}", p) for group in phrases for p in group for t in templates]
    embeddings = to_numpy(clip.encode_text(sentences)).astype(np.float64)
    sizes = [len(group) * len(templates) for group in phrases]
    sums = np.add.reduceat(embeddings, np.cumsum([0, *sizes[:-1]]))
    result: np.ndarray = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return result


def view_boxes(height: int, width: int, grids: Sequence[int] = (2, 3)) -> np.ndarray:
    """The views of an image: the whole image, then for each g in ``grids`` its g x g windows, row by row.

    Windows measure 2/(g+1) of each side with a stride of 1/(g+1), so neighbours overlap by half and together they cover
    the image.

    Returns:
        float32 (1 + sum of g * g, 4) x0 y0 x1 y1 in pixels.
    """
    views = [(0.0, 0.0, 1.0, 1.0)]
    for g in grids:
        views += [(j / (g + 1), i / (g + 1), (j + 2) / (g + 1), (i + 2) / (g + 1)) for i in range(g) for j in range(g)]
    return (np.array(views) * (width, height, width, height)).astype(np.float32)


def probabilities(views: np.ndarray, text: np.ndarray, scale: float) -> np.ndarray:
    """Softmax of the scaled cosine similarities over all text features, foreground and background.

    Args:
        views: (V, D) image features of unit length.
        text: (G, D) text features of unit length.
        scale: logit scale; 100 for OpenAI's CLIP.

    Returns:
        float32 (V, G), rows summing to 1.
    """
    logits = scale * (views @ text.T).astype(np.float64)
    e = np.exp(logits - logits.max(1, keepdims=True))
    result: np.ndarray = (e / e.sum(1, keepdims=True)).astype(np.float32)
    return result


def class_scores(probs: np.ndarray, local_weight: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Global, local and ranking score of each class.

    Args:
        probs: (V, K) probabilities of the foreground classes, the global view first.
        local_weight: weight of the local score in the ranking score.

    Returns:
        Three arrays float32 (K,): the probability in the global view, the maximum over the local views (the global
        view if there are none), and their weighted mean.
    """
    glob = probs[0]
    loc = probs[1:].max(0) if len(probs) > 1 else glob
    return glob, loc, ((1 - local_weight) * glob + local_weight * loc).astype(np.float32)


def candidates(
    glob: np.ndarray,
    loc: np.ndarray,
    score: np.ndarray,
    tau_glob: np.ndarray | float,
    tau_loc: np.ndarray | float,
    limit: int,
    *,
    assume_present: bool,
) -> tuple[int, ...]:
    """Candidate classes for the detector; generous, because boxes and crops prune them later.

    A class is a candidate if its global or local score reaches its threshold. The ``limit`` best by ranking score are
    kept (ties: the lower index first). If no class qualifies, there is none, or with ``assume_present`` the class with
    the best ranking score.

    Returns:
        Foreground indices, ascending.
    """
    found = np.flatnonzero((glob >= np.float32(tau_glob)) | (loc >= np.float32(tau_loc)))
    if not len(found):
        return (int(score.argmax()),) if assume_present else ()
    best = found[np.argsort(-score[found], kind="stable")[:limit]]
    return tuple(sorted(best.tolist()))


def relative_decision(score: np.ndarray, share: float = 0.5, limit: int | None = None) -> tuple[int, ...]:
    """The classes whose score lies above a share of the range from the lowest to the highest score.

    The rule of TagCLIP's released code (arXiv 2312.12828), which takes a half. If no score is above, the best class is
    taken, the first of equals.

    Args:
        score: (K,) of the classes.
        share: of the range.
        limit: keep the best classes only, this many.

    Returns:
        Foreground indices, ascending.
    """
    low, high = float(score.min()), float(score.max())
    found = np.flatnonzero(score > low + share * (high - low))
    best = found[np.argsort(-score[found], kind="stable")[:limit]]
    return tuple(sorted(best.tolist())) if len(best) else (int(score.argmax()),)
