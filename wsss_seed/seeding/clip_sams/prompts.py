"""Prompts for CLIP's text tower: learned context vectors with class names, or sentences.

Sources: FMA-WSSS (arXiv 2312.03585) for the learned contexts, CLIP-ES (arXiv 2212.09506) for the sentences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...data.classes import ClassSet
from ...errors import CheckpointError, WsssError, one_line
from ...io.files import write_bytes
from ..detection.classification import text_features

if TYPE_CHECKING:
    from ...models.clip import Clip

Position = Literal["end", "front", "middle"]

ORIGAMI = ("a clean origami {}.",)  # the one template of CLIP-ES
_FORMAT = "wsss-seed prompts 1"


@dataclass(frozen=True, eq=False)
class Contexts:
    """Context vectors and the names they go with.

    Attributes:
        vectors: float32 (M, Dt), one context of M vectors shared by all names, or (S, M, Dt), S contexts.
        names: G names, those of the K classes in label order, then background prompts; they may be empty.
        position: place of the name: after the context (``end``), before it (``front``), or in the ``middle``.
        sets: for vectors (S, M, Dt), index of the context of each name; by default S = G, one per name.
    """

    vectors: torch.Tensor
    names: tuple[str, ...]
    position: Position = "end"
    sets: tuple[int, ...] | None = None

    def per_name(self) -> torch.Tensor:
        """The context of each name, (G, M, Dt)."""
        if self.vectors.ndim == 2:
            return self.vectors.expand(len(self.names), -1, -1)
        return self.vectors if self.sets is None else self.vectors[list(self.sets)]


class SamRecord(NamedTuple):
    """The SAM of the seeds from which prompts were learned: its name, and its ``ModelSet.identity``."""

    name: str
    identity: str


@dataclass(frozen=True, eq=False)
class Frame:
    """Tokenized prompts without their contexts; fixed while contexts are learned.

    Attributes:
        tokens: int64 (G, T), with M placeholders before the name regardless of the position.
        embeddings: float32 (G, T, Dt) of these tokens.
        order: int64 (G, T), index into ``tokens`` of each token of the prompt.
        eos: int64 (G,), indices of the end tokens; the same for every position.
    """

    tokens: torch.Tensor
    embeddings: torch.Tensor
    order: torch.Tensor
    eos: torch.Tensor


def frame_prompts(clip: Clip, names: Sequence[str], length: int, position: Position = "end") -> Frame:
    """Tokenize "X X ... X name." with ``length`` placeholders for the context.

    Underscores in names become spaces; a name with commas is one name; an empty name leaves placeholders and
    the full stop.

    Raises:
        WsssError: a prompt exceeds the context length of the text tower.
    """
    plain = [name.replace("_", " ") for name in names]
    tokens = clip.tokenizer(["X " * length + name + "." for name in plain]).to(clip.device)
    # The end token has the largest id; between it and the start token is the name alone.
    name_lengths = clip.tokenizer(plain).argmax(1) - 1
    longest = int(name_lengths.argmax())
    needed = length + int(name_lengths[longest]) + 3  # start, full stop, end
    if needed > clip.context_length:
        raise CheckpointError(
            f"the prompt of '{names[longest]}' with {length} context vectors has {needed} tokens, but {clip.name} "
            f"reads {clip.context_length}; shorten the name or learn fewer vectors"
        )
    before = {"end": length, "front": 0, "middle": length // 2}[position]
    order = torch.arange(tokens.shape[1], device=clip.device).repeat(len(plain), 1)
    for row, n in zip(order, name_lengths.tolist(), strict=True):
        name, rest = row[1 + length : 1 + length + n].clone(), row[1 + before : 1 + length].clone()
        row[1 + before : 1 + length + n] = torch.cat([name, rest])
    return Frame(tokens, clip.token_embedding(tokens).detach(), order, tokens.argmax(1))


def prompt_embeddings(frame: Frame, contexts: Contexts) -> torch.Tensor:
    """Token embeddings of the prompts in their final order, float32 (G, T, Dt), differentiable in the vectors."""
    learned = contexts.per_name().to(frame.embeddings)
    rest = frame.embeddings[:, 1 + learned.shape[1] :]
    whole = torch.cat([frame.embeddings[:, :1], learned, rest], 1)
    return whole.gather(1, frame.order[..., None].expand(whole.shape))


def prompt_features(clip: Clip, contexts: Contexts, frame: Frame | None = None) -> torch.Tensor:
    """Text features of unit length, float32 (G, D), differentiable in ``contexts.vectors``.

    Args:
        clip: the model.
        contexts: vectors and names.
        frame: from ``frame_prompts`` for these names, length and position, to avoid tokenizing repeatedly.

    Raises:
        WsssError: a prompt is too long, or the text tower does not support learned prompts.
    """
    if frame is None:
        frame = frame_prompts(clip, contexts.names, contexts.vectors.shape[-2], contexts.position)
    return clip.text_features(prompt_embeddings(frame, contexts), frame.eos)


def handwritten_features(clip: Clip, names: Sequence[str], templates: Sequence[str] = ORIGAMI) -> torch.Tensor:
    """Text features of sentences, float32 (G, D) of unit length, as in CLIP-ES: the embedding of each template
    normalised, averaged over the templates, normalised again."""
    groups = [(name.replace("_", " "),) for name in names]
    return torch.from_numpy(text_features(clip, groups, templates)).to(clip.device)


def prompt_names(class_set: ClassSet, *, empty_background: bool = False) -> tuple[str, ...]:
    """Names for the prompts of a class set: classes, then background phrases or as many empty names."""
    background = ("",) * len(class_set.background) if empty_background else class_set.background
    return (*class_set.prompts, *background)


def random_contexts(
    clip: Clip,
    names: Sequence[str],
    *,
    length: int = 16,
    per_name: bool = False,
    position: Position = "end",
    std: float = 0.015,
    generator: torch.Generator | None = None,
) -> Contexts:
    """Initial contexts, drawn from a normal distribution with mean 0.

    Args:
        clip: determines the width of the vectors.
        names: classes, then background.
        length: context vectors M per prompt.
        per_name: one context per name, all different (empty names would otherwise remain the same prompt), instead
            of a shared one.
        position: place of the name.
        std: standard deviation; 0.015, or 0.0125 for the segmentation task on VOC.
        generator: random generator on the CPU.
    """
    width = clip.token_embedding(torch.zeros(1, dtype=torch.int64)).shape[-1]
    shape = (len(names), length, width) if per_name else (length, width)
    vectors = torch.randn(shape, generator=generator) * std
    return Contexts(vectors.to(clip.device), tuple(names), position)


def word_contexts(clip: Clip, names: Sequence[str], words: str, *, position: Position = "end") -> Contexts:
    """A context shared by all names, initialized from the embeddings of words such as "a clean origami"."""
    tokens = clip.tokenizer([words.replace("_", " ")])
    vectors = clip.token_embedding(tokens[0, 1 : int(tokens[0].argmax())]).detach().clone()
    return Contexts(vectors, tuple(names), position)


def save_contexts(
    path: Path,
    contexts: Contexts,
    *,
    clip: Clip,
    class_set: ClassSet,
    settings: Mapping[str, Any] | None = None,
    sam: SamRecord | None = None,
) -> None:
    """Write contexts with everything they depend on: a few KB of safetensors.

    Args:
        path: the file.
        contexts: contexts, stored as float32.
        clip: the model they were learned with.
        class_set: the classes they were learned for.
        settings: how they were learned, as plain JSON values.
        sam: the SAM of the seeds they were learned from, if there is one.
    """
    about = {
        "names": contexts.names,
        "position": contexts.position,
        "sets": contexts.sets,
        "clip": clip.name,
        "clip_fingerprint": clip.fingerprint,
        "class_set": class_set.name,
        "classes": class_set.names,
        "settings": dict(settings or {}),
        "sam": None if sam is None else sam._asdict(),
    }
    vectors = contexts.vectors.detach().float().cpu().contiguous()
    write_bytes(path, save({"vectors": vectors}, {"format": _FORMAT, "prompts": json.dumps(about)}))


def read_contexts(path: Path) -> tuple[Contexts, dict[str, Any]]:
    """Contexts on the CPU, and the metadata that ``save_contexts`` wrote.

    Raises:
        WsssError: not a file of prompts.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is '{metadata.get('format', 'unknown')}', not '{_FORMAT}'")
            if "prompts" not in metadata or "vectors" not in file.keys():  # noqa: SIM118 (it is no dict)
                raise ValueError("it lacks its metadata or its vectors")
            about = json.loads(metadata["prompts"])
            vectors = file.get_tensor("vectors")
        _check(about, vectors)
    except RecursionError:
        raise _not_prompts(path, "its metadata is nested too deeply") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_prompts(path, one_line(error)) from None
    sets = None if about["sets"] is None else tuple(about["sets"])
    return Contexts(vectors, tuple(about["names"]), about["position"], sets), about


def _not_prompts(path: Path, why: str) -> WsssError:
    return CheckpointError(f"{path}: not learned prompts ({why}); make them with wsss-seed learn-prompts")


def _check(about: Any, vectors: torch.Tensor) -> None:
    """Raise ValueError for anything that ``save_contexts`` cannot have written."""
    if not isinstance(about, dict):
        raise ValueError("its metadata is not a JSON object")
    for key in ("names", "classes"):
        words = about.get(key)
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{key} must be a list of texts")
    if len(about["names"]) < len(about["classes"]):
        raise ValueError("it has fewer names than classes")
    for key in ("clip", "clip_fingerprint", "class_set"):
        if not isinstance(about.get(key), str):
            raise ValueError(f"{key} must be text")
    if about.get("position") not in get_args(Position):
        raise ValueError(f"position must be one of {', '.join(get_args(Position))}")
    if not isinstance(about.get("settings"), dict):
        raise ValueError("settings must be a JSON object")
    sam = about.get("sam")
    if sam is not None and not (isinstance(sam, dict) and all(isinstance(sam.get(k), str) for k in SamRecord._fields)):
        raise ValueError("sam must have a name and an identity")
    if vectors.ndim not in (2, 3) or 0 in vectors.shape or not vectors.is_floating_point():
        raise ValueError(
            f"vectors of shape {tuple(vectors.shape)} and type {str(vectors.dtype).removeprefix('torch.')}"
        )
    if not vectors.isfinite().all():
        raise ValueError("vectors that are not finite")
    sets = about.get("sets", ())
    if sets is None:
        fits = vectors.ndim == 2 or len(vectors) == len(about["names"])
    else:
        whole = isinstance(sets, list) and all(type(i) is int for i in sets)
        fits = whole and vectors.ndim == 3 and len(sets) == len(about["names"]) and {*sets} <= {*range(len(vectors))}
    if not fits:
        raise ValueError("sets must assign one of the contexts to each name")


def load_contexts(path: Path, *, clip: Clip, class_set: ClassSet) -> Contexts:
    """Contexts for this model and these classes, on the model's device.

    Raises:
        WsssError: not a file of prompts, or prompts for another CLIP or class set.
    """
    contexts, about = read_contexts(path)
    if tuple(about["classes"]) != class_set.names:
        raise CheckpointError(
            f"{path}: prompts for the {len(about['classes'])} classes of '{about['class_set']}', not for the "
            f"{len(class_set.names)} of '{class_set.name}'; learn prompts for these with wsss-seed learn-prompts"
        )
    if about["clip_fingerprint"] != clip.fingerprint:
        raise CheckpointError(
            f"{path}: prompts for {about['clip']}, whose weights are not those of {clip.name}; load that model with "
            "`clip`, or learn prompts for this one with wsss-seed learn-prompts"
        )
    width = clip.token_embedding(torch.zeros(1, dtype=torch.int64)).shape[-1]
    if contexts.vectors.shape[-1] != width:
        raise _not_prompts(path, f"vectors of width {contexts.vectors.shape[-1]}, where {clip.name} takes {width}")
    return Contexts(contexts.vectors.to(clip.device), contexts.names, contexts.position, contexts.sets)
