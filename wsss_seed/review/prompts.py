"""Masks that the SAM of a run proposes for clicks and boxes: the image is encoded once, then each prompt is decoded."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from ..models.masks import MaskModel

KEPT = 4
"""Encoded images that are kept, the last ones used."""


@dataclass(frozen=True)
class Proposed:
    """Masks that SAM proposes for a prompt, the best first.

    Attributes:
        masks: bool (M, H, W).
        scores: predicted IoU of each mask.
        seconds: time that decoding took.
    """

    masks: np.ndarray
    scores: tuple[float, ...]
    seconds: float


class PromptedSam:
    """SAM, loaded at the first use, and the images that it encoded last. Safe to use from several threads.

    Args:
        load: returns the model; may raise WsssError.
        kept: number of encoded images that are kept.
    """

    def __init__(self, load: Callable[[], MaskModel], kept: int = KEPT) -> None:
        self._load, self._kept = load, kept
        self._model: MaskModel | None = None
        self._encoded: OrderedDict[object, Any] = OrderedDict()
        self._lock = threading.Lock()  # of the model, which one thread uses at a time

    def encode(self, key: object, image: Callable[[], np.ndarray]) -> bool:
        """Encode an image unless it is kept; returns whether that was needed.

        Args:
            key: of the image.
            image: returns it, uint8 (H, W, 3) RGB.

        Raises WsssError if there is no model, or the image cannot be read.
        """
        with self._lock:
            return self._embedding(key, image)[1]

    def segment(
        self,
        key: object,
        image: Callable[[], np.ndarray],
        points: Sequence[tuple[float, float]],
        positive: Sequence[bool],
        box: tuple[float, float, float, float] | None,
    ) -> Proposed:
        """The masks of the object that points, a box or both indicate.

        Args:
            key: of the image.
            image: returns it, uint8 (H, W, 3) RGB.
            points: x y in pixels.
            positive: whether each point is on the object; the others are beside it.
            box: x0 y0 x1 y1 in pixels.

        Raises:
            UsageError: neither points nor a box.
            WsssError: as ``encode``.
        """
        if not points and box is None:
            raise UsageError("a prompt needs points or a box")
        with self._lock:
            embedding, _ = self._embedding(key, image)
            assert self._model is not None
            start = time.perf_counter()
            corners = None if box is None else np.array(box, float)
            found = self._model.decode_prompt(embedding, np.array(points, float), np.array(positive, bool), corners)
            scores = [float(score) for score in found.iou[0].float().cpu()]
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            masks = [(self._model.logits(embedding, found.low_res[:, i])[0] > 0).cpu().numpy() for i in order]
            seconds = time.perf_counter() - start
        return Proposed(np.stack(masks), tuple(scores[i] for i in order), seconds)

    def _embedding(self, key: object, image: Callable[[], np.ndarray]) -> tuple[Any, bool]:
        if self._model is None:
            self._model = self._load()
        if key in self._encoded:
            self._encoded.move_to_end(key)
            return self._encoded[key], False
        embedding = self._encoded[key] = self._model.embed(image())
        while len(self._encoded) > self._kept:
            self._encoded.popitem(last=False)
        return embedding, True


def sam_name(about: Mapping[str, Any], sam: str | None) -> str:
    """The name of the SAM that segments by clicks; empty if there is none.

    Args:
        about: contents of the ``run.json`` of a run.
        sam: another SAM instead of that of the run.
    """
    weights = about.get("weights")
    recorded = weights.get("sam") if isinstance(weights, Mapping) else None
    name = recorded.get("name") if isinstance(recorded, Mapping) else None
    return sam or (name if isinstance(name, str) else "")


def load_sam(name: str, device: str) -> MaskModel:
    """Load a SAM whose weights are on this machine: nothing is downloaded in the middle of a review.

    Raises WsssError if the name is empty or unknown, or its weights are not here.
    """
    from ..models.zoo import ModelSet

    if not name:
        raise UsageError("the run names no SAM; start the review with `sam` NAME to segment by clicks")
    chosen = ModelSet("tiny", device, sam=name)  # of this set nothing but SAM is loaded
    if not chosen.downloaded("sam"):
        raise UsageError(f"SAM {name} is not on this machine; wsss-seed models pull {name} downloads it")
    return chosen.sam


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask, bool (H, W), row by row, alternately outside and inside, outside first."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return lengths[:-1] if lengths and lengths[-1] == 0 else lengths
