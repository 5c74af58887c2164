"""How the mask of one image came about: what was asked, found and dropped, from the record and settings of its run."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from ..data.base import Sample
from ..data.classes import ClassSet
from ..data.images import read_palette, read_rgb
from ..data.voc_layout import layout_of
from ..errors import ImageError, RunFolderError, UsageError
from ..io.boxes import Colour, DrawnBox, Style, draw_boxes
from ..output.manifest import Manifest, Record
from ..output.report.evidence import Box, Evidence, EvidenceOf, no_evidence
from ..output.run_folder import fingerprint, image_path, mask_path, read_run, record_of
from ..seeding.detection.explain import BoxEvidence, Thresholds, in_short, read_boxes, why, why_asked, why_not_asked
from ..types import Seed, Seeder

STYLES: Mapping[str, tuple[Style, str]] = {
    "confident": ("solid", "paints its class"),
    "ambiguous": ("dashed", "its pixels are ignored unless another box paints them"),
    "dropped": ("dotted", "dropped"),
}
"""Role of a box -> style of its outline, and what that means."""

_DROPPED_COLOUR = (170, 170, 170)
_UNASKED = 3  # classes that CLIP saw most but that were not asked for


@dataclass(frozen=True)
class ExplainedClass:
    """A class that was considered in the image.

    Attributes:
        name: of the class.
        asked: whether its boxes or its mask were looked for.
        given: whether the image-level labels name it; None without labels.
        clip: CLIP's score of the class in the image; None if CLIP was not asked.
        why: why it was a candidate or not; None if labels decided, or if the run did not record it.
        score: best score among its boxes or pixels that count; None if it was not asked.
        boxes: number of its boxes by role.
        pixels: number of pixels in the mask.
    """

    name: str
    asked: bool
    given: bool | None
    clip: float | None
    why: str | None
    score: float | None
    boxes: Mapping[str, int]
    pixels: int


@dataclass(frozen=True)
class Explanation:
    """How the mask of one image came about.

    Attributes:
        record: of the image.
        mode: ``label_given``, ``label_free`` or ``boxes_given``; None for a backend without boxes.
        classes: the classes that were asked, and those that CLIP saw most among the others.
        boxes: the boxes, best first.
        reasons: what decided about each box.
        names: all classes that it could have had.
        pixels: returns the image, uint8 (H, W, 3) RGB, and the palette of its label map.
    """

    record: Record
    mode: str | None
    classes: tuple[ExplainedClass, ...]
    boxes: tuple[BoxEvidence, ...]
    reasons: tuple[str, ...]
    names: tuple[str, ...]
    pixels: Callable[[], tuple[np.ndarray, Sequence[Colour]]] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return {
            "id": self.record.id,
            "status": self.record.status,
            "error": self.record.error,
            "mode": self.mode,
            "size": self.record.size,
            "ignore": self.record.ignore,
            "notes": list(self.record.notes),
            "classes": [vars(c) for c in self.classes],
            "boxes": [
                msgspec.to_builtins(box) | {"why": reason} for box, reason in zip(self.boxes, self.reasons, strict=True)
            ],
            "evidence": {key: value for key, value in self.record.evidence.items() if key != "detections"},
        }

    def drawn_boxes(self, palette: Sequence[Colour]) -> list[DrawnBox]:
        """The boxes in the colours of their classes, numbered from 1; dropped ones are grey and lie below the others.

        Args:
            palette: RGB colours by label.
        """
        colours = dict(zip(self.names, palette[1:], strict=False))
        boxes = [
            DrawnBox(
                box.box,
                f"{number} {box.cls} {box.final:.2f}",
                _DROPPED_COLOUR if box.role == "dropped" else colours.get(box.cls, _DROPPED_COLOUR),
                STYLES[box.role][0],
            )
            for number, box in enumerate(self.boxes, 1)
        ]
        return sorted(boxes, key=lambda box: box.style == "dotted")

    def picture(self) -> Image.Image:
        """The image with its boxes, and below it what their outlines mean. Raises ImageError."""
        image, palette = self.pixels()
        return draw_boxes(image, self.drawn_boxes(palette), list(STYLES.values()))


def explain(run: Path, image: str) -> Explanation:
    """How the mask of an image came about.

    Args:
        run: a run folder.
        image: the id of an image, or the name or path of its file.

    Raises:
        RunFolderError: not a run folder, or a record that is damaged.
        UsageError: an image that the run does not have; names the most similar ones.
    """
    about = read_run(run)
    if about is None:
        raise RunFolderError(f"{run}: not a run folder (it has no run.json); give what generate wrote")
    try:
        with Manifest(run) as manifest:
            record = manifest[_find(manifest, image, run)]
    except OSError as error:
        raise RunFolderError(f"{run}: its manifest cannot be read ({error.strerror})") from None
    if record.settings != fingerprint(about["settings"]):
        raise RunFolderError(f"{run}: {record.id} was seeded with other settings and is not finished; resume the run")
    explain_record = _explainer(run, about)
    if explain_record is None:
        raise RunFolderError(f"{run}: not a run of generate; only its masks have evidence")
    return explain_record(record)


def evidence_of(run: Path) -> EvidenceOf:
    """A function for the evidence in a record of a run, for its report; a run of predict has none.

    Raises:
        RunFolderError: a damaged ``run.json``.
    """
    explain_record = _explainer(run, read_run(run) or {})
    if explain_record is None:
        return no_evidence

    def evidence(record: Record) -> Evidence:
        try:
            found = explain_record(record)
        except RunFolderError as error:
            return Evidence(note=str(error))
        boxes = tuple(
            Box(box.cls, box.box, box.score, box.crop_probability, box.final, box.role, reason, in_short(box))
            for box, reason in zip(found.boxes, found.reasons, strict=True)
        )
        return Evidence(boxes, _clip(record, found.names))

    return evidence


def _explainer(run: Path, about: Mapping[str, Any]) -> Callable[[Record], Explanation] | None:
    """A function for the explanation of a record, which raises RunFolderError if the record is damaged; None if the run
    is not one of generate."""
    settings = about.get("settings", {})
    backend, class_set = settings.get("backend"), settings.get("class_set")
    listed = class_set.get("names") if isinstance(class_set, dict) else None
    if not isinstance(backend, dict) or not isinstance(listed, list):
        return None
    names = tuple(str(name) for name in listed)
    thresholds = Thresholds(backend, len(names))

    def explain_record(record: Record) -> Explanation:
        def pixels() -> tuple[np.ndarray, Sequence[Colour]]:
            layout = layout_of(run)
            return read_rgb(image_path(run, record.id, layout)), read_palette(mask_path(run, record.id, layout))

        try:
            return _explanation(record, names, thresholds, pixels)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise RunFolderError(
                f"{run}: the evidence of {record.id} is damaged ({error}); generate with `overwrite`"
            ) from None

    return explain_record


def explain_seed(sample: Sample, seed: Seed, class_set: ClassSet, image: np.ndarray, seeder: Seeder) -> Explanation:
    """How a seed came about that is in no run folder.

    Args:
        sample: what it is of.
        seed: the seed.
        class_set: its classes.
        image: uint8 (H, W, 3) RGB.
        seeder: what made it.

    Raises:
        ImageError: evidence that does not fit the settings, of a backend of another package.
    """
    record, thresholds = record_of(sample, seed, class_set), Thresholds(seeder.settings, len(class_set.names))
    try:
        return _explanation(record, class_set.names, thresholds, lambda: (image, class_set.palette))
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise ImageError(f"{sample.id}: its mask cannot be explained ({error})") from None


def _explanation(
    record: Record,
    names: tuple[str, ...],
    thresholds: Thresholds,
    pixels: Callable[[], tuple[np.ndarray, Sequence[Colour]]],
) -> Explanation:
    """The explanation of a record. Raises ValueError, TypeError or MsgspecError if it is damaged."""
    mode = record.evidence.get("mode")
    boxes = read_boxes(record.evidence)
    size = record.size or (0, 0)
    reasons = tuple(why(boxes, i, str(mode), size, thresholds) for i in range(len(boxes)))
    classes = _classes(record, boxes, names, thresholds)
    return Explanation(record, None if mode is None else str(mode), classes, boxes, reasons, names, pixels)


def _find(manifest: Manifest, image: str, run: Path) -> str:
    """The id of an image given by id, file name, or path. Raises UsageError."""
    path = PurePosixPath(image.replace("\\", "/"))
    tails = [PurePosixPath(*path.parts[start:]) for start in range(len(path.parts))]
    for name in (image, *(str(tail) for tail in tails), *(str(tail.with_suffix("")) for tail in tails if tail.name)):
        if name in manifest:
            return name
    same = sorted(id for id in manifest if PurePosixPath(id).name in (path.name, path.stem))
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"{run}: several images are called {path.name}: {', '.join(same[:5])}; give one of these ids")
    near = difflib.get_close_matches(str(path.with_suffix("")) if path.name else image, list(manifest), 5, 0.5)
    hint = f"the most similar: {', '.join(near)}" if near else "its ids are in manifest.jsonl"
    raise UsageError(f"{run}: has no image {image}; {hint}")


def _clip(record: Record, names: Sequence[str]) -> dict[str, float]:
    """CLIP's score of each class by name; empty if it was not asked. Raises ValueError."""
    seen = msgspec.convert(record.evidence.get("clip", []), list[float])
    if seen and len(seen) != len(names):
        raise ValueError(f"CLIP's scores of {len(seen)} classes, but there are {len(names)}")
    return dict(zip(names, seen, strict=False))


def _classes(
    record: Record, boxes: tuple[BoxEvidence, ...], names: Sequence[str], thresholds: Thresholds
) -> tuple[ExplainedClass, ...]:
    """The classes that were asked, then those that CLIP saw most among the others. Raises ValueError."""
    clip = _clip(record, names)
    met = msgspec.convert(record.evidence.get("asked", {}), dict[str, tuple[str, float]])
    why: dict[str, str | None] = {name: why_asked(*threshold, name, thresholds) for name, threshold in met.items()}
    asked = dict.fromkeys([*record.scores, *(record.labels or ()), *(box.cls for box in boxes)])
    others = sorted((name for name in clip if name not in asked), key=lambda name: -clip[name])[:_UNASKED]
    if record.evidence.get("mode") == "label_free":
        why |= {name: why_not_asked(name, thresholds, others=bool(asked)) for name in others}
    roles: dict[str, Counter[str]] = {name: Counter(box.role for box in boxes if box.cls == name) for name in asked}
    return tuple(
        ExplainedClass(
            name=name,
            asked=name in asked,
            given=None if record.labels is None else name in record.labels,
            clip=clip.get(name),
            why=why.get(name),
            score=record.scores.get(name),
            boxes={role: roles[name][role] for role in STYLES} if name in asked else {},
            pixels=record.pixels.get(name, 0),
        )
        for name in (*asked, *others)
    )
