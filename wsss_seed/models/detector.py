"""Interface of open-vocabulary detectors: captions with known phrase spans in, boxes with scores per class out.

Phrases are never decoded to strings: the tokens of each class in the caption are known, so scores per token map to
scores per class exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from ..errors import CheckpointError

TOKEN_LIMIT = 250  # a caption's tokens, [CLS] and [SEP] included; the text encoder takes 256
ScoreMap = Literal["span_mean_max", "best_token"]


class Queries(NamedTuple):
    """Unfiltered output of a detector for one image, in no particular order.

    Attributes:
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels of the image, clipped to it.
        scores: float32 (n,) in 0..1, the highest probability over all real tokens of the query's caption.
        class_scores: float32 (n, C) in 0..1; 0 for classes that the query's caption does not name.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_scores: np.ndarray


class Detector(Protocol):
    """A frozen open-vocabulary detector."""

    name: str

    def detect(
        self,
        image: np.ndarray,
        phrases: Sequence[Sequence[str]],
        *,
        joint: bool = True,
        score: ScoreMap = "span_mean_max",
    ) -> Queries:
        """Detect classes in one image.

        Args:
            image: uint8 (H, W, 3) RGB.
            phrases: phrases of each class; a class without phrases scores 0.
            joint: whether all classes share a caption, where they compete (split only if it exceeds the length of the
                text encoder); otherwise one caption per class.
            score: mapping from token probabilities to class scores, see ``class_scores``.
        """
        ...


class Phrase(NamedTuple):
    """A phrase of a caption: its text, and the classes it stands for."""

    text: str
    classes: tuple[int, ...]


class Caption(NamedTuple):
    """A caption: its ``text``, and for each of ``phrases`` its ``spans`` [start, end) in characters."""

    text: str
    phrases: tuple[Phrase, ...]
    spans: tuple[tuple[int, int], ...]


def normalised(text: str) -> str:
    """A phrase normalised for captions: lower case, single spaces, without the characters that end a phrase.

    Grounding DINO's captions are lower case, and "." and "?" separate phrases in its text encoder's attention.
    """
    return " ".join(text.lower().replace(".", " ").replace("?", " ").split())


def unique_phrases(phrases: Sequence[Sequence[str]]) -> list[Phrase]:
    """The distinct phrases of all classes in order of appearance; a phrase of two classes stands for both."""
    owners: dict[str, list[int]] = {}
    for c, texts in enumerate(phrases):
        for text in map(normalised, texts):
            if text and c not in owners.setdefault(text, []):
                owners[text].append(c)
    return [Phrase(text, tuple(classes)) for text, classes in owners.items()]


def write_caption(phrases: Iterable[Phrase]) -> Caption:
    """Join phrases with " . ", end with " .", and record the span of each."""
    phrases = tuple(phrases)
    spans, at = [], 0
    for phrase in phrases:
        spans.append((at, at + len(phrase.text)))
        at += len(phrase.text) + len(" . ")
    return Caption(" . ".join(p.text for p in phrases) + " .", phrases, tuple(spans))


def write_captions(phrases: Iterable[Phrase], count: Callable[[str], int], limit: int = TOKEN_LIMIT) -> list[Caption]:
    """As few captions as the length of the text encoder allows, phrases in order and unbroken.

    Args:
        phrases: phrases to detect.
        count: returns the number of tokens of a phrase, without special tokens.
        limit: tokens per caption, including [CLS], [SEP] and one "." per phrase.

    Raises:
        WsssError: a single phrase is too long.
    """
    out: list[list[Phrase]] = []
    room = 0
    for phrase in phrases:
        cost = count(phrase.text) + 1
        if cost + 2 > limit:
            raise CheckpointError(
                f"the phrase '{phrase.text[:60]}...' has {cost - 1} tokens, the detector reads at most {limit - 3}; "
                "shorten it in the class set"
            )
        if not out or cost > room:
            out.append([])
            room = limit - 2
        out[-1].append(phrase)
        room -= cost
    return [write_caption(group) for group in out]


def span_tokens(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> list[int]:
    """Indices of the tokens within a span of characters.

    Args:
        offsets: [start, end) of each token in characters, the offset mapping of a fast tokenizer; empty for special
            tokens.
        span: [start, end) of the phrase.
    """
    return [i for i, (start, end) in enumerate(offsets) if start < end and span[0] <= start and end <= span[1]]


def class_scores(
    probabilities: np.ndarray,
    caption: Caption,
    offsets: Sequence[tuple[int, int]],
    classes: int,
    score: ScoreMap = "span_mean_max",
) -> np.ndarray:
    """Class scores from token probabilities.

    ``span_mean_max``: maximum over the phrases of a class of the mean over their tokens, as in Grounding DINO's
    evaluation on COCO. ``best_token``: maximum over all tokens of the phrases, as in the released code of Sun et al.
    (arXiv 2305.01586), which takes the phrase around the best token of a query. The two differ where phrases share
    words.

    Args:
        probabilities: float (n, tokens) sigmoids of the logits.
        caption: the caption they belong to.
        offsets: offset mapping of its tokens, see ``span_tokens``.
        classes: number of classes C.
        score: see above.

    Returns:
        float32 (n, C); 0 for classes without a phrase in the caption.
    """
    out = np.zeros((len(probabilities), classes), np.float32)
    for phrase, span in zip(caption.phrases, caption.spans, strict=True):
        tokens = probabilities[:, span_tokens(offsets, span)]
        if not tokens.shape[1]:
            continue
        value = tokens.mean(1) if score == "span_mean_max" else tokens.max(1)
        for c in phrase.classes:
            out[:, c] = np.maximum(out[:, c], value)
    return out


def pixel_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes cx, cy, w, h relative to an image as x0, y0, x1, y1 in its pixels, clipped to it: float32 (n, 4)."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    size = np.array([width, height] * 2, np.float32)
    return np.clip(np.concatenate([centre - half, centre + half], 1) * size, 0, size)


def merged(parts: Sequence[Queries], classes: int) -> Queries:
    """Concatenate the queries of several captions of one image."""
    empty = Queries(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, classes), np.float32))
    return Queries(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))
