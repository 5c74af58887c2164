"""Outputs of the frozen models of dino-sam and sam3 for an image, stored in a file, so that masks can be made again
without the models.

Outputs are stored without rounding. To keep files small, queries of the detector with a score below ``SCORE_FLOOR``
are left out, and SAM's logits are cropped to a window around each box (``MARGIN``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import ImageError, WsssError
from ..io.files import write_bytes
from .detector import Queries, ScoreMap
from .upsample import Steps

FORMAT = 1
"""Version of the files; incremented when an old reader would misread a new file."""

SCORE_FLOOR = 0.05
"""Queries of the detector with a lower score are not kept."""

MARGIN = 0.25
"""Share of the width or height of a box by which the kept window of its mask exceeds the box at each side."""

_CELLS = 3  # of the decoder's grid around a window: more than bilinear interpolation reaches

_FIELDS = ("boxes", "scores", "class_scores")


class Question(NamedTuple):
    """The input of a detector: the phrases of each class, whether the classes share a caption, and how token scores
    become class scores; see ``Detector.detect``."""

    phrases: tuple[tuple[str, ...], ...]
    joint: bool
    score: ScoreMap


class WindowedMasks(NamedTuple):
    """The masks of a box: a window of their logits on the decoder's grid.

    Attributes:
        top, left: position of the window on the grid.
        low_res: float32 (M, h, w).
        iou: float32 (M,) predicted IoU; NaN where the model predicts none.
    """

    top: int
    left: int
    low_res: np.ndarray
    iou: np.ndarray


class PhraseAnswer(NamedTuple):
    """The instances that SAM 3 found for a phrase.

    Attributes:
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels.
        scores: float32 (n,).
        masks: the mask of each box.
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: tuple[WindowedMasks, ...]


@dataclass
class ModelOutputs:
    """The outputs for one image. Keys that are boxes are the bytes of float32 (4,) x0 y0 x1 y1 in pixels.

    Attributes:
        image: digest of the upright pixels, see ``image_digest``.
        orientation: EXIF orientation of the image file.
        views: CLIP's feature float32 (D,) of the crop of a box.
        queries: the detector's output for a question.
        masks: SAM's masks by box and by whether there are three of them (multimask output) or one.
        phrases: SAM 3's output for a phrase.
        grid: height and width of the grid of SAM's mask decoder; None without masks.
        steps: upsampling from the grid to the image, see ``models.upsample``; None without masks.
    """

    image: str
    orientation: int = 1
    views: dict[bytes, np.ndarray] = field(default_factory=dict)
    queries: dict[Question, Queries] = field(default_factory=dict)
    masks: dict[tuple[bytes, bool], WindowedMasks] = field(default_factory=dict)
    phrases: dict[str, PhraseAnswer] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    steps: Steps | None = None


_Side = Annotated[int, msgspec.Meta(ge=1, le=2**16)]


class _Header(msgspec.Struct):
    format: int
    models: dict[str, str]
    image: str = ""
    orientation: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    questions: list[tuple[tuple[tuple[str, ...], ...], bool, ScoreMap]] = []
    phrases: list[str] = []
    grid: tuple[_Side, _Side] | None = None
    steps: list[tuple[tuple[_Side, _Side], tuple[_Side, _Side]]] | None = None
    texts: list[tuple[str, ...]] = []
    logit_scale: float | None = None


def image_digest(image: np.ndarray) -> str:
    """SHA-256 of the size and the pixels uint8 (H, W, 3) of an image, shortened."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:32]


def window(box: np.ndarray, grid: tuple[int, int], steps: Steps) -> tuple[slice, slice]:
    """Rows and columns of the decoder's grid on which the pixels of a box, enlarged by ``MARGIN``, depend.

    Args:
        box: (4,) x0 y0 x1 y1 in pixels of the image.
        grid: height and width of the grid.
        steps: from the grid to the image.
    """
    found = []
    for axis in (0, 1):
        low, high = float(box[1 - axis]), float(box[3 - axis])
        margin = MARGIN * (high - low) + 1
        low, high = low - margin, high + margin
        sizes = [grid[axis], *(kept[axis] for _, kept in steps[:-1])]
        for size, (length, _) in zip(reversed(sizes), reversed(steps), strict=True):
            # A pixel depends on the two nearest ones of the previous size.
            low, high = (v * size / length[axis] + d for v, d in ((low, -1), (high, 1)))
        limits = np.clip([np.floor(low) - _CELLS, np.ceil(high) + _CELLS], 0, grid[axis]).astype(int)
        found.append(slice(*limits.tolist()))
    return found[0], found[1]


def write_outputs(path: Path, outputs: ModelOutputs, models: Mapping[str, str]) -> None:
    """Write the outputs for an image atomically.

    Args:
        path: the file.
        outputs: the outputs.
        models: identity of the weights by role, and the precision.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    if outputs.views:
        arrays["views.boxes"] = np.frombuffer(b"".join(outputs.views), np.float32).reshape(-1, 4)
        arrays["views.features"] = np.stack(list(outputs.views.values()))
    for i, queries in enumerate(outputs.queries.values()):
        arrays |= {f"queries.{i}.{name}": array for name, array in zip(_FIELDS, queries, strict=True)}
    for several in (False, True):
        own = {box: masks for (box, multimask), masks in outputs.masks.items() if multimask == several}
        if own:
            name = f"masks.{'three' if several else 'one'}"
            arrays[f"{name}.boxes"] = np.frombuffer(b"".join(own), np.float32).reshape(-1, 4)
            arrays |= _packed(name, list(own.values()))
    for i, answer in enumerate(outputs.phrases.values()):
        arrays |= {f"phrases.{i}.boxes": answer.boxes, f"phrases.{i}.scores": answer.scores}
        if answer.masks:
            arrays |= _packed(f"phrases.{i}", answer.masks)
    questions = [(q.phrases, q.joint, q.score) for q in outputs.queries]
    steps = None if outputs.steps is None else list(outputs.steps)
    phrases = list(outputs.phrases)
    about = (outputs.image, outputs.orientation, questions, phrases, outputs.grid, steps)
    header = _Header(FORMAT, dict(models), *about)
    _write(path, arrays, header)


def read_outputs(path: Path, models: Mapping[str, str]) -> ModelOutputs:
    """Read the outputs for an image.

    Args:
        path: the file.
        models: identity of the weights by role, and the precision, which must be those of the file.

    Raises:
        ImageError: the file is missing, damaged, of another version, or of other weights.
    """
    arrays, header = _read(path, models)
    outputs = ModelOutputs(header.image, header.orientation, grid=header.grid, steps=header.steps)
    try:
        if "views.boxes" in arrays:
            rows = zip(arrays["views.boxes"], arrays["views.features"], strict=True)
            outputs.views = {box.tobytes(): feature for box, feature in rows}
        for i, (phrases, joint, score) in enumerate(header.questions):
            queries = Queries(*(arrays[f"queries.{i}.{name}"] for name in _FIELDS))
            n, classes = queries.class_scores.shape
            if queries.boxes.shape != (n, 4) or queries.scores.shape != (n,) or classes != len(phrases):
                raise ValueError("queries of the wrong shape")
            outputs.queries[Question(phrases, joint, score)] = queries
        for several, name in ((False, "masks.one"), (True, "masks.three")):
            if f"{name}.boxes" not in arrays:
                continue
            masks = _unpacked(arrays, name, outputs)
            boxes = arrays[f"{name}.boxes"]
            outputs.masks |= {(box.tobytes(), several): own for box, own in zip(boxes, masks, strict=True)}
        for i, phrase in enumerate(header.phrases):
            boxes, scores = arrays[f"phrases.{i}.boxes"], arrays[f"phrases.{i}.scores"]
            found = _unpacked(arrays, f"phrases.{i}", outputs) if len(boxes) else []
            if boxes.shape != (len(found), 4) or scores.shape != (len(found),):
                raise ValueError("objects of the wrong shape")
            outputs.phrases[phrase] = PhraseAnswer(boxes, scores, tuple(found))
        if any(feature.ndim != 1 for feature in outputs.views.values()):
            raise ValueError("features of the wrong shape")
    except (KeyError, ValueError, IndexError, TypeError):
        raise _unusable(path, "damaged") from None
    return outputs


def _packed(name: str, masks: Sequence[WindowedMasks]) -> dict[str, np.ndarray]:
    """Masks of boxes as the arrays of a file."""
    return {
        f"{name}.windows": np.array([(m.top, m.left, *m.low_res.shape[1:]) for m in masks], np.int32),
        f"{name}.iou": np.stack([m.iou for m in masks]),
        f"{name}.logits": np.concatenate([m.low_res.ravel() for m in masks]),
    }


def _unpacked(arrays: Mapping[str, np.ndarray], name: str, outputs: ModelOutputs) -> list[WindowedMasks]:
    """Inverse of ``_packed``. Raises KeyError, ValueError, IndexError or TypeError for damaged arrays."""
    windows, iou, logits = (arrays[f"{name}.{key}"] for key in ("windows", "iou", "logits"))
    height, width = outputs.grid or (0, 0)
    count, start, found = iou.shape[1], 0, []
    for (top, left, h, w), own in zip(windows.tolist(), iou, strict=True):
        if not (0 <= top <= top + h <= height and 0 <= left <= left + w <= width and outputs.steps):
            raise ValueError("a window outside the grid")
        end = start + count * h * w
        found.append(WindowedMasks(top, left, logits[start:end].reshape(count, h, w), own))
        start = end
    return found


def read_orientation(path: Path, models: Mapping[str, str]) -> int:
    """EXIF orientation of the image. Raises ImageError like ``read_outputs``."""
    with _opened(path, models) as (_, header):
        return header.orientation


def write_texts(
    path: Path,
    texts: Mapping[tuple[str, ...], np.ndarray],
    models: Mapping[str, str],
    logit_scale: float | None = None,
) -> None:
    """Write CLIP's features float32 (n, D) of each list of n sentences, and its logit scale, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {str(i): features for i, features in enumerate(texts.values())}
    _write(path, arrays, _Header(FORMAT, dict(models), texts=list(texts), logit_scale=logit_scale))


def read_texts(path: Path, models: Mapping[str, str]) -> tuple[dict[tuple[str, ...], np.ndarray], float | None]:
    """Read the features and the logit scale that ``write_texts`` wrote. Raises ImageError like ``read_outputs``."""
    arrays, header = _read(path, models)
    try:
        found = {texts: arrays[str(i)] for i, texts in enumerate(header.texts)}
    except KeyError:
        raise _unusable(path, "damaged") from None
    if any(features.ndim != 2 or len(features) != len(texts) for texts, features in found.items()):
        raise _unusable(path, "damaged")
    return found, header.logit_scale


def _write(path: Path, arrays: Mapping[str, np.ndarray], header: _Header) -> None:
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, save(plain, {"header": msgspec.json.encode(header).decode()}))


def _read(path: Path, models: Mapping[str, str]) -> tuple[dict[str, np.ndarray], _Header]:
    with _opened(path, models) as (file, header):
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 - no mapping


@contextmanager
def _opened(path: Path, models: Mapping[str, str]) -> Iterator[tuple[Any, _Header]]:
    """An open file and its header. Raises ImageError if it cannot be used."""
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("header", "")
            # The version is read first, because other versions may have other fields.
            version = msgspec.json.decode(text, type=_Version).format
            if version != FORMAT:
                raise _unusable(path, f"of another version of wsss-seed (format {version}, here {FORMAT})")
            header = msgspec.json.decode(text, type=_Header)
            differing = [role for role in models if header.models.get(role) != models[role]]
            if differing:
                raise _unusable(path, _difference(differing, header.models, models))
            yield file, header
    except FileNotFoundError:
        raise _unusable(path, "missing") from None
    except (SafetensorError, msgspec.DecodeError, OSError, ValueError, TypeError):
        raise _unusable(path, "damaged") from None


class _Version(msgspec.Struct):
    format: int


def _difference(roles: Sequence[str], old: Mapping[str, str], new: Mapping[str, str]) -> str:
    changes = (f"{role} {old.get(role, 'none')[:12]} -> {new[role][:12]}" for role in roles)
    return f"of other weights or another precision ({', '.join(changes)})"


def _unusable(path: Path, why: str) -> WsssError:
    return ImageError(f"{path}: model outputs {why}; run generate with `keep_evidence` again")
