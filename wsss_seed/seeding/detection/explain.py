"""Why each box of an image paints its class, makes pixels ambiguous or was dropped, read from the recorded evidence.

The evidence has scores and a ``Reason`` per box, the settings of the run have the thresholds; which of them decided
follows from the rules of ``detection_filter``, ``crop_verification`` and ``fusion``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from .crop_verification import MIN_CLASSES_FOR_RANK
from .detection_filter import GROUP_COVERAGE
from .detections import Reason, box_iou

_ROUNDED = 1e-6
"""The evidence has six decimals, and thresholds are compared in single precision."""


class BoxEvidence(msgspec.Struct, frozen=True, rename={"cls": "class"}):
    """A box as the evidence of a seed records it.

    Attributes:
        cls: name of its class.
        box: x0 y0 x1 y1 in pixels.
        score: of the detector.
        role: what it contributes, see ``Role``.
        reason: why it does not paint, see ``Reason``; empty if it does.
        crop_probability: CLIP's probability of the class on the crop; None if not verified.
        combined_score: of detector and CLIP.
        predicted_iou: of its mask; None without a mask.
    """

    cls: str
    box: tuple[float, float, float, float]
    score: float
    role: Literal["confident", "ambiguous", "dropped"]
    reason: str = ""
    crop_probability: float | None = None
    combined_score: float | None = None
    predicted_iou: float | None = None

    @property
    def final(self) -> float:
        """The score that decided: the combined one."""
        return self.score if self.combined_score is None else self.combined_score


def read_boxes(evidence: Mapping[str, Any]) -> tuple[BoxEvidence, ...]:
    """The boxes in the evidence of a seed; empty without any. Raises ValueError if they are damaged."""
    try:
        found = msgspec.convert(evidence.get("detections", []), tuple[BoxEvidence, ...])
    except msgspec.MsgspecError as error:  # a ValueError only in recent versions of msgspec
        raise ValueError(str(error)) from None
    if not np.isfinite([box.box for box in found]).all():
        raise ValueError("a box that is not finite")
    return found


class Thresholds:
    """The settings of a run, with the thresholds of single classes.

    Args:
        settings: dotted key -> value, as in ``run.json``.
        classes: number of classes of the run.
    """

    def __init__(self, settings: Mapping[str, Any], classes: int) -> None:
        self._settings = settings
        self.classes = classes
        groups = (key.removesuffix(".box_threshold") for key in settings if key.endswith(".box_threshold"))
        self.detector = next((group for group in groups if f"{group}.rescue_threshold" in settings), "detector")
        self.by_patches = settings.get("clip.scores") == "patches"
        self.by_candidates = settings.get("clip.decision") == "detector"

    def value(self, key: str, cls: str) -> float:
        """The value for a class. Raises ValueError if the settings lack it."""
        value = self._settings.get(f"{key}.{cls}", self._settings.get(key))
        if not isinstance(value, int | float):
            raise ValueError(f"no setting {key}")
        return float(value)

    def named(self, key: str, cls: str) -> str:
        """The setting with its value, e.g. ``box.min_side 4``."""
        own = f"{key}.{cls}" if f"{key}.{cls}" in self._settings else key
        return f"{own} {self.value(key, cls):g}"


def why(boxes: Sequence[BoxEvidence], i: int, mode: str, size: tuple[int, int], thresholds: Thresholds) -> str:
    """What decided about a box, in words: the value, and the setting with the threshold that it met or missed.

    Args:
        boxes: the boxes of the image.
        i: the box in question.
        mode: ``label_given``, ``label_free`` or ``boxes_given``.
        size: width and height of the image.
        thresholds: of the run.

    Raises:
        ValueError: settings that lack the threshold.
    """
    b = boxes[i]
    if mode == "boxes_given" and b.role == "confident":
        return "given box"
    if b.reason:
        return _DROPPED[b.reason](boxes, i, size, thresholds) if b.reason in _DROPPED else b.reason.replace("_", " ")
    return _painted(b, mode, thresholds) if b.role == "confident" else _demoted(boxes, i, mode, thresholds)


_ASKED = {
    "global_threshold": "CLIP's global view",
    "local_threshold": "best of CLIP's local views",
    "patch_threshold": "score of CLIP's patches",
    "candidate_threshold": "score of the detector, asked for all classes",
}


def why_asked(key: str, value: float, cls: str, thresholds: Thresholds) -> str:
    """What made a class a candidate, in words.

    Args:
        key: the setting that it met.
        value: what met it.
        cls: name of the class.
        thresholds: of the run.

    Raises:
        ValueError: settings that lack the threshold, or an unknown one.
    """
    if key == "assume_present":
        return f"the class that CLIP sees most ({value:.3f}), as none met a threshold"
    what = _ASKED.get(key.rpartition(".")[2])
    if what is None:
        raise ValueError(f"unknown threshold {key}")
    share = " of the range of the scores of all classes" * key.endswith("patch_threshold")
    return f"{what} {value:.3f} >= {thresholds.named(key, cls)}{share}"


def why_not_asked(cls: str, thresholds: Thresholds, *, others: bool) -> str | None:
    """Why a class of an image without labels was no candidate, in words; None if candidates were not sought.

    Args:
        cls: name of the class.
        thresholds: of the run.
        others: whether other classes were candidates, which a limit may have preferred.

    Raises:
        ValueError: settings that lack a threshold.
    """
    if not thresholds.by_candidates:
        return None
    if thresholds.by_patches:
        share = thresholds.named("clip.patch_threshold", cls)
        clip = f"CLIP's patches are not above {share} of the range of the scores of all classes"
    else:
        views = (f"clip.{view}_threshold" for view in ("global", "local"))
        clip = f"CLIP's views are below {' and '.join(thresholds.named(key, cls) for key in views)}"
    detector = thresholds.named(f"{thresholds.detector}.candidate_threshold", cls)
    limit = ", or clip.max_candidates was reached" * others
    return f"{clip}, and the detector is below {detector}{limit}"


def _reaches(value: float, threshold: float) -> bool:
    return value >= threshold - _ROUNDED


def _keys(mode: str, t: Thresholds) -> tuple[str, str]:
    """The settings that a box must exceed to paint: of the detector score and of the combined score."""
    label_free = "_label_free" * (mode != "label_given")
    return f"{t.detector}.box_threshold", f"ignore.confident_threshold{label_free}"


def _painted(b: BoxEvidence, mode: str, t: Thresholds) -> str:
    detector, combined = _keys(mode, t)
    sure = b.score > t.value(detector, b.cls) and _reaches(b.final, t.value(combined, b.cls))
    if sure:
        return (
            f"detector score {b.score:.3f} > {t.named(detector, b.cls)}, "
            f"combined score {b.final:.3f} >= {t.named(combined, b.cls)}"
        )
    if mode == "label_given":
        key = f"{t.detector}.rescue_threshold"
        return f"best box of a given class without a confident one: score {b.score:.3f} >= {t.named(key, b.cls)}"
    key = f"{t.detector}.fallback_threshold"
    return f"best box, as none was confident: score {b.score:.3f} >= {t.named(key, b.cls)}"


def _demoted(boxes: Sequence[BoxEvidence], i: int, mode: str, t: Thresholds) -> str:
    """Why a box is ambiguous although no filter dropped it."""
    b = boxes[i]
    detector, combined = _keys(mode, t)
    if b.score <= t.value(detector, b.cls):
        text = f"detector score {b.score:.3f} <= {t.named(detector, b.cls)}"
    elif not _reaches(b.final, t.value(combined, b.cls)):
        text = f"combined score {b.final:.3f} < {t.named(combined, b.cls)}"
    else:
        return _across_classes(boxes, i, (0, 0), t) + "; kept, as it is the last box of a given class"
    low = "ignore.ambiguous_threshold"
    if not _reaches(b.final, t.value(low, b.cls)):
        return f"{text}, and {b.final:.3f} < {t.named(low, b.cls)}; kept, as it is the best box there is"
    return text


def _ious(boxes: Sequence[BoxEvidence], i: int) -> np.ndarray:
    xyxy = np.array([b.box for b in boxes], np.float64)
    ious: np.ndarray = box_iou(xyxy[i : i + 1], xyxy)[0]
    return ious


def _suppressor(boxes: Sequence[BoxEvidence], i: int, rows: Sequence[int], rank: Callable[[BoxEvidence], float]) -> str:
    """The box among ``rows`` that suppressed box ``i``, with their IoU: the one that overlaps it most among those that
    rank higher, or among all of them where it was rescued and none does."""
    ious = _ious(boxes, i)
    rows = [j for j in rows if j != i and ious[j] > 0]
    better = [j for j in rows if rank(boxes[j]) >= rank(boxes[i])] or rows
    if not better:
        return "with a better box"
    j = max(better, key=lambda j: float(ious[j]))
    return f"{ious[j]:.2f} with box {j + 1}"


def _small(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    b = boxes[i]
    x0, y0, x1, y1 = b.box
    side = min(x1 - x0, y1 - y0)
    if side < t.value("box.min_side", b.cls):
        return f"shorter side of {side:.1f} pixels < {t.named('box.min_side', b.cls)}"
    return f"{_share(b, size):.3g} of the image < {t.named('box.min_area', b.cls)}"


def _share(b: BoxEvidence, size: tuple[int, int]) -> float:
    x0, y0, x1, y1 = b.box
    return (x1 - x0) * (y1 - y0) / max(1, size[0] * size[1])


def _large(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    b = boxes[i]
    return (
        f"{_share(b, size):.3f} of the image > {t.named('box.max_area', b.cls)}, "
        f"and detector score {b.score:.3f} < {t.named('box.large_threshold', b.cls)}"
    )


def _nms(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    own = boxes[i]
    rows = [j for j, b in enumerate(boxes) if b.cls == own.cls and b.reason != Reason.NMS.text]
    rival = _suppressor(boxes, i, rows, lambda b: b.score)
    return f"IoU {rival} of its class > {t.named('nms.iou_threshold', own.cls)}"


def _across_classes(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    own = boxes[i]
    rows = [j for j, b in enumerate(boxes) if b.cls != own.cls and b.reason != Reason.CROSS_CLASS_NMS.text]
    rival = _suppressor(boxes, i, rows, lambda b: b.score * (1.0 if b.crop_probability is None else b.crop_probability))
    return f"IoU {rival} of another class >= {t.named('nms.cross_class_iou_threshold', own.cls)}"


def _rejected(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    b = boxes[i]
    probability = 0.0 if b.crop_probability is None else b.crop_probability
    contradicted = (
        f"crop probability {probability:.3f} < {t.named('verify.relabel_below', b.cls)} and that of another candidate "
        f">= {t.named('verify.relabel_threshold', b.cls)}"
    )
    if _reaches(probability, t.value("verify.accept_threshold", b.cls)):
        return contradicted
    text = f"crop probability {probability:.3f} < {t.named('verify.accept_threshold', b.cls)}"
    if t.classes >= MIN_CLASSES_FOR_RANK:
        text += f", and its class is not among the first of the crop ({t.named('verify.accept_top_k', b.cls)})"
    others = [j for j, other in enumerate(boxes) if other.cls != b.cls]
    same_object = bool((_ious(boxes, i)[others] >= t.value("nms.iou_threshold", b.cls)).any())
    return f"{text}; or {contradicted}" if same_object else text


def _low(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    b = boxes[i]
    if not _reaches(b.final, t.value("ignore.ambiguous_threshold", b.cls)):
        return f"combined score {b.final:.3f} < {t.named('ignore.ambiguous_threshold', b.cls)}"
    return f"detector score {b.score:.3f} < {t.named(f'{t.detector}.ambiguous_threshold', b.cls)}"


def _invalid(boxes: Sequence[BoxEvidence], i: int, size: tuple[int, int], t: Thresholds) -> str:
    b = boxes[i]
    key = "mask.pred_iou_thresh"
    try:
        doubted = b.predicted_iou is not None and not _reaches(b.predicted_iou, t.value(key, b.cls))
    except ValueError:  # sam3 has no predicted IoU
        doubted = False
    if doubted:
        return f"predicted IoU of its mask {b.predicted_iou:.3f} < {t.named(key, b.cls)}"
    return f"its mask covers less of the box than {t.named('mask.min_box_coverage', b.cls)}"


_DROPPED: Mapping[str, Callable[[Sequence[BoxEvidence], int, tuple[int, int], Thresholds], str]] = {
    Reason.TOO_SMALL.text: _small,
    Reason.TOO_LARGE.text: _large,
    Reason.NMS.text: _nms,
    Reason.GROUP_BOX.text: lambda boxes, i, size, t: (
        f"boxes of its class inside it cover at least {GROUP_COVERAGE:g} of it, and one scores higher"
    ),
    Reason.REJECTED.text: _rejected,
    Reason.CROSS_CLASS_NMS.text: _across_classes,
    Reason.MAX_DETECTIONS.text: lambda boxes, i, size, t: (
        f"more boxes than {t.named('box.max_detections', boxes[i].cls)}, the others with higher detector scores"
    ),
    Reason.NO_SURVIVOR.text: lambda boxes, i, size, t: (
        f"no box was confident, and this one is not the best with a score from "
        f"{t.named(f'{t.detector}.fallback_threshold', boxes[i].cls)} on"
    ),
    Reason.LOW_SCORE.text: _low,
    Reason.INVALID_MASK.text: _invalid,
    Reason.DUPLICATE_MASK.text: lambda boxes, i, size, t: (
        f"IoU of its mask with the mask of a better class >= {t.named('fusion.iou_threshold', boxes[i].cls)}"
    ),
    Reason.DISTRACTOR.text: lambda boxes, i, size, t: (
        "a common object that is none of the classes has a higher score on this box, IoU >= "
        f"{t.named('nms.iou_threshold', boxes[i].cls)}"
    ),
}

_IN_SHORT: Mapping[str, str] = {
    Reason.TOO_SMALL.text: "too small",
    Reason.TOO_LARGE.text: "too large",
    Reason.NMS.text: "overlaps a better box of its class",
    Reason.GROUP_BOX.text: "surrounds several objects of its class",
    Reason.REJECTED.text: "CLIP sees another class in it",
    Reason.CROSS_CLASS_NMS.text: "overlaps a better box of another class",
    Reason.MAX_DETECTIONS.text: "more boxes than allowed",
    Reason.NO_SURVIVOR.text: "not the best box of an image without a confident one",
    Reason.LOW_SCORE.text: "score too low",
    Reason.INVALID_MASK.text: "its mask is poor or misses the box",
    Reason.DUPLICATE_MASK.text: "same mask as that of a better class",
    Reason.DISTRACTOR.text: "a common object that is no class scores higher",
}


def in_short(box: BoxEvidence) -> str:
    """Why a box does not paint, without the figures of ``why``; empty if it does."""
    if box.role == "confident":
        return ""
    return _IN_SHORT.get(box.reason) or box.reason.replace("_", " ") or "score not high enough"
