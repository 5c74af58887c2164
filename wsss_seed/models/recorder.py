"""Models whose outputs are recorded, so that masks can be made again without running the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..errors import ImageError, UsageError
from .detector import Queries, ScoreMap, merged
from .masks import BoxMasks
from .outputs import SCORE_FLOOR, ModelOutputs, PhraseAnswer, Question, WindowedMasks, window
from .sam3 import TextMasks, upsampled_probabilities
from .upsample import Steps, upsampled

if TYPE_CHECKING:
    from .zoo import ModelSet


@dataclass
class Memory:
    """The outputs that recorded models have.

    Attributes:
        asks: whether the real models are run for missing outputs; otherwise a missing output is an error of the image.
        texts: CLIP's features float32 (n, D) of each list of n sentences.
        logit_scale: CLIP's logit scale; None before the first text.
        name: id of the current image, for messages.
        outputs: the outputs for the current image; to be replaced for each image.
    """

    asks: bool = True
    texts: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)
    logit_scale: float | None = None
    name: str = ""
    outputs: ModelOutputs = field(default_factory=lambda: ModelOutputs(""))

    def require(self, what: str) -> None:
        """Raise ImageError unless the real models may be run."""
        if not self.asks:
            raise ImageError(
                f"{self.name}: these settings need {what}, not among the model outputs that were kept; "
                "generate the masks with these settings instead"
            )


def recorded(models: ModelSet, memory: Memory) -> ModelSet:
    """The same model set, with models that record their outputs in ``memory``. The real models are loaded on first use.

    A recorded output is returned unchanged. If any part of a call is not recorded, the real model is run on the whole
    call, so that its batches are the same as without a memory. Features of views and masks are recorded by box; the
    real model may round differently in another batch of boxes, in the last bits.
    """
    own = copy(models)
    own.__dict__ |= {
        "clip": _Clip(memory, lambda: models.clip),
        "detector": _Detector(memory, lambda: models.detector),
        "sam": _Sam(memory, lambda: models.sam, lambda: models.device),
        "sam3": _Sam3(memory, lambda: models.sam3, lambda: models.device),
    }
    return own


def kept_models(memory: Memory, device: str) -> ModelSet:
    """Models that only return recorded outputs, for ``BackendRequest``; without settings calibrated for the weights.

    Args:
        memory: the outputs, with ``asks`` off.
        device: device on which masks are upsampled.
    """
    return cast("ModelSet", _KeptModels(memory, device))


class _KeptModels:
    def __init__(self, memory: Memory, device: str) -> None:
        def real() -> Any:
            raise AssertionError("`asks` is on, but there are no real models")

        self.clip, self.detector = _Clip(memory, real), _Detector(memory, real)
        self.sam, self.sam3 = _Sam(memory, real, lambda: device), _Sam3(memory, real, lambda: device)

    def for_backend(self, _: str) -> _KeptModels:
        return self

    def settings(self, _: str) -> dict[str, Any]:
        return {}


class _Clip:
    def __init__(self, memory: Memory, real: Callable[[], Any]) -> None:
        self._memory, self._real = memory, real

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        known, key = self._memory.texts, tuple(texts)
        if key not in known:
            self._memory.require("the features of other sentences")
            known[key] = self._real().encode_text(texts).cpu().numpy()
            self._memory.logit_scale = self._real().logit_scale
        return torch.from_numpy(known[key])

    @property
    def logit_scale(self) -> float:
        if self._memory.logit_scale is None:
            self._memory.require("CLIP's logit scale")
            self._memory.logit_scale = self._real().logit_scale
        return self._memory.logit_scale

    def encode_views(self, image: np.ndarray, boxes: np.ndarray) -> torch.Tensor:
        known = self._memory.outputs.views
        keys = [box.tobytes() for box in np.asarray(boxes, np.float32)]
        if not all(key in known for key in keys):
            self._memory.require("CLIP's features of other crops")
            features = self._real().encode_views(image, boxes).cpu()
            for key, feature in zip(keys, features.numpy(), strict=True):
                known.setdefault(key, feature)
            found: torch.Tensor = features
            return found
        return torch.from_numpy(np.stack([known[key] for key in keys]))

    def require_patches(self) -> None:
        """Raise UsageError: the features of CLIP's patches are not kept; their attention would take too much space."""
        raise UsageError("`clip.scores` patches: the features of CLIP's patches are not kept; choose views")


class _Detector:
    def __init__(self, memory: Memory, real: Callable[[], Any]) -> None:
        self._memory, self._real = memory, real

    def detect(
        self,
        image: np.ndarray,
        phrases: Sequence[Sequence[str]],
        *,
        joint: bool = True,
        score: ScoreMap = "span_mean_max",
    ) -> Queries:
        """The detector's queries with a score of at least ``SCORE_FLOOR``. Classes that do not share a caption are
        recorded separately, because their outputs do not depend on each other."""
        groups = [tuple(map(tuple, phrases))] if joint and len(phrases) > 1 else [(tuple(own),) for own in phrases]
        parts = [self._answer(image, Question(group, len(group) > 1, score)) for group in groups]
        if len(parts) == 1:
            return parts[0]
        return merged(
            [part._replace(class_scores=_column(part, c, len(phrases))) for c, part in enumerate(parts)], len(phrases)
        )

    def _answer(self, image: np.ndarray, question: Question) -> Queries:
        known = self._memory.outputs.queries
        if question not in known:
            listed = ", ".join(phrases[0] for phrases in question.phrases if phrases)
            self._memory.require(f"boxes of '{listed}'")
            found = self._real().detect(image, question.phrases, joint=question.joint, score=question.score)
            rows = found.scores >= SCORE_FLOOR
            known[question] = Queries(*(array[rows] for array in found))
        return known[question]


def _column(queries: Queries, column: int, columns: int) -> np.ndarray:
    """The scores of a single class as a column among those of all classes."""
    scores = np.zeros((len(queries.scores), columns), np.float32)
    scores[:, column] = queries.class_scores[:, 0]
    return scores


@dataclass(frozen=True, eq=False)
class _Embedding:
    """An image to segment, encoded only if an output is missing."""

    image: np.ndarray


class _Masks:
    """Common parts of SAM and SAM 3: the embedding of the last image, and masks as windows."""

    def __init__(self, memory: Memory, real: Callable[[], Any], device: Callable[[], str]) -> None:
        self._memory, self._real, self._device = memory, real, device
        self._encoded: tuple[np.ndarray, Any] | None = None

    def embed(self, image: np.ndarray) -> _Embedding:
        return _Embedding(image)

    def _encode(self, embedding: _Embedding) -> Any:
        if self._encoded is None or self._encoded[0] is not embedding.image:
            self._encoded = embedding.image, self._real().embed(embedding.image)
        return self._encoded[1]

    def _steps(self) -> Steps:
        assert self._memory.outputs.steps is not None
        return self._memory.outputs.steps

    def _cut(self, box: np.ndarray, low_res: np.ndarray, iou: np.ndarray) -> WindowedMasks:
        outputs = self._memory.outputs
        assert outputs.grid is not None
        rows, columns = window(box, outputs.grid, self._steps())
        return WindowedMasks(rows.start, columns.start, low_res[:, rows, columns].copy(), iou.copy())

    def _whole(self, known: Sequence[WindowedMasks]) -> torch.Tensor:
        """float32 (n, M, h, w) on the device; 0 outside the windows."""
        grid = self._memory.outputs.grid or (1, 1)
        whole = np.zeros((len(known), len(known[0].iou) if known else 1, *grid), np.float32)
        for full, masks in zip(whole, known, strict=True):
            h, w = masks.low_res.shape[1:]
            full[:, masks.top : masks.top + h, masks.left : masks.left + w] = masks.low_res
        return torch.from_numpy(whole).to(self._device())


class _Sam(_Masks):
    def decode_boxes(
        self, embedding: _Embedding, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks:
        outputs = self._memory.outputs
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        keys = [(box.tobytes(), multimask) for box in boxes]
        if keys and all(key in outputs.masks for key in keys):
            known = [outputs.masks[key] for key in keys]
            return BoxMasks(self._whole(known), torch.from_numpy(np.stack([m.iou for m in known])).to(self._device()))
        self._memory.require("SAM's masks of other boxes")
        encoded = self._encode(embedding)
        found: BoxMasks = self._real().decode_boxes(encoded, boxes, multimask=multimask, chunk=chunk)
        outputs.steps, outputs.grid = encoded.steps, (found.low_res.shape[-2], found.low_res.shape[-1])
        for key, *own in zip(keys, boxes, found.low_res.cpu().numpy(), found.iou.cpu().numpy(), strict=True):
            outputs.masks.setdefault(key, self._cut(*own))
        return found

    def logits(self, _: _Embedding, low_res: torch.Tensor) -> torch.Tensor:
        return upsampled(low_res, self._steps())


class _Sam3(_Masks):
    def ask(self, embedding: _Embedding, phrase: str, least: float = 0.0) -> TextMasks:
        """The instances of a phrase with a score of at least ``SCORE_FLOOR``."""
        outputs = self._memory.outputs
        if phrase not in outputs.phrases:
            self._memory.require(f"masks of '{phrase}'")
            found = self._real().ask(self._encode(embedding), phrase, SCORE_FLOOR)
            size = embedding.image.shape[0], embedding.image.shape[1]
            outputs.steps, outputs.grid = [(size, size)], (found.low_res.shape[-2], found.low_res.shape[-1])
            low_res = found.low_res.cpu().numpy()[:, None]
            masks = [self._cut(*own, np.full(1, np.nan, np.float32)) for own in zip(found.boxes, low_res, strict=True)]
            outputs.phrases[phrase] = PhraseAnswer(found.boxes, found.scores, tuple(masks))
        answer = outputs.phrases[phrase]
        rows = np.flatnonzero(answer.scores >= least)
        return TextMasks(answer.boxes[rows], answer.scores[rows], self._whole([answer.masks[i] for i in rows])[:, 0])

    def logits(self, embedding: _Embedding, low_res: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from upsampled_probabilities(low_res, (embedding.image.shape[0], embedding.image.shape[1]))
