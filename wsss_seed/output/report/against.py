"""Two runs over the same images: where they differ."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.base import Dataset
from ...data.classes import IGNORE
from ...data.images import read_rgb
from ...data.lazy import Mapped
from ...errors import ImageError, RunFolderError
from ...evaluation import metrics
from ...evaluation.confusion import confusion_matrix, joint_histogram
from ..finished import FinishedRun, open_run, truth_for
from ..manifest import Record
from ..run_folder import image_path, run_orientation
from ..truth import own_truth
from . import Place, Reported, made
from .card import ERROR_COLOURS, RIGHT, UNDECIDED, WRONG, TruthOf, label_ious, read_map, read_truth
from .gallery import Gallery
from .page import colour_of, facts, page
from .pictures import Enlarged, Picture, enlarged, index_png, photograph

if TYPE_CHECKING:
    from ...io.progress import Reporter

NOTICED = 0.001
"""Share of an image from which two classes, one in each mask, are listed with it. Ours: less is the rounding of
outlines."""

PAIRS, NAMED = 30, 5
"""Number of pairs of classes that are listed, and of ids of images that only one run has."""


@dataclass(frozen=True)
class Compared(Reported):
    """Summary of a comparison; ``images`` are those in both runs, and ``miou`` is that of the first run.

    Attributes:
        other_miou: mIoU of the second run; None without ground truth.
        differs: share of the pixels in which the runs differ.
        only: number of images with a mask in the first and in the second run alone.
    """

    other_miou: float | None
    differs: float
    only: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        more = {"other_miou": self.other_miou, "differs": self.differs, "only": list(self.only)}
        return {**super().to_json(), **more}


@dataclass(frozen=True)
class Difference:
    """One image of both runs, A and B.

    Attributes:
        id: of the image.
        size: width and height in pixels.
        differs: share of the pixels with different labels, ignored pixels included.
        agreement: mean over the classes in either mask of the IoU between the masks, ignored pixels counted as
            background.
        ious: this IoU of each label.
        labels: labels in either mask, without the ignore label.
        only: labels in A alone and in B alone.
        iou, other: mean IoU of A and of B with the ground truth; None without any.
        pairs: labels of A and of B at the same pixels, and the share of these; the most frequent first.
        trouble: why there is no ground truth although it was requested; empty otherwise.
        pictures: the thumbnails by name: image, mask (A), other (B), difference, truth.
        enlarged: the enlarged view, with the maps ``mask``, ``other`` and perhaps ``truth``.
        joint: int64 (256, 256) pixels by label of A and of B.
        truths: int64 (256, 256) pixels by ground truth and label of A, and of B; None without ground truth.
    """

    id: str
    size: tuple[int, int]
    differs: float
    agreement: float
    ious: dict[int, float]
    labels: tuple[int, ...]
    only: tuple[tuple[int, ...], tuple[int, ...]]
    iou: float | None
    other: float | None
    pairs: tuple[tuple[int, int, float], ...]
    trouble: str
    pictures: Mapping[str, Picture]
    enlarged: Enlarged
    joint: np.ndarray
    truths: tuple[np.ndarray, np.ndarray] | None

    @property
    def key(self) -> tuple[float, str]:
        """Sort key, the most different first."""
        return (-self.differs, self.id)

    def without_counts(self) -> Difference:
        """A copy without the histograms, which take half a megabyte each."""
        return dataclasses.replace(self, joint=np.zeros(0), truths=None)

    def summary(self) -> dict[str, Any]:
        """What the script of the page filters and orders by."""
        change = None if self.iou is None or self.other is None else round(self.iou - self.other, 4)
        return {
            "id": self.id,
            "differs": round(self.differs, 4),
            "agreement": round(self.agreement, 4),
            "ious": {label: round(value, 4) for label, value in self.ious.items()},
            "labels": self.labels,
            "only": self.only,
            "iou": None if self.iou is None else round(self.iou, 4),
            "other": None if self.other is None else round(self.other, 4),
            "change": change,
            "missed": [],
            "pairs": [[a, b, round(share, 4)] for a, b, share in self.pairs],
        }

    def detail(self) -> dict[str, Any]:
        """What else it shows, without pictures."""
        return {"size": self.size, "notes": [], "trouble": self.trouble, "boxes": []}


def compare(
    run: Path,
    against: Path,
    out: Path | None = None,
    *,
    folder: Path | None = None,
    truth: Dataset | Path | None = None,
    limit: int | None = None,
    corrected: bool = True,
    other_corrected: bool = True,
    progress: Reporter | None = None,
) -> Compared:
    """Write a page about the differences of two runs, over the images that have a mask in both.

    Args:
        run: a run folder, A on the page.
        against: another one with the same classes, B.
        out: the page; ``report-against-NAME.html`` in the folder of A by default.
        folder: write a folder instead; see ``report``.
        truth: ground truth for the IoU of both; that of toyland is drawn again and need not be given.
        limit: number of images to show; see ``report``.
        corrected: use corrected masks of the first run, and leave out rejected images.
        other_corrected: likewise for the second.
        progress: progress display.

    Raises:
        WsssError: no run, other classes or orientations, no image in common, none that can be shown, or a page that
            cannot be written.
    """
    a, b = open_run(run, corrected=corrected), open_run(against, corrected=other_corrected)
    _check(a, b)
    truth = own_truth(a) if truth is None else truth
    truth_of = None if truth is None else truth_for(a, truth)
    records, only = _common(a, b)
    place = Place(run, out, folder, f"report-against-{against.resolve().name}.html", limit)
    failed: list[tuple[str, str]] = []
    totals = _Totals()
    side = place.side(len(records))

    def make(record: Record) -> Difference:
        return _difference(a, b, record.id, truth_of, side)

    def differences() -> Iterator[Difference]:
        for record, found in made(records, make, failed, progress):
            totals.add(found)
            if found.trouble:
                failed.append((record.id, found.trouble))
            yield found.without_counts()

    def text(gallery: Gallery) -> str:
        return _render(a, b, gallery, totals.figures(a), only, failed)

    written, shown = place.write(differences(), failed, progress, text)
    figures = totals.figures(a)
    return Compared(
        out=place.path,
        images=totals.images,
        shown=shown,
        gaps=_gaps(a, b),
        miou=figures["miou"],
        failed=tuple(failed),
        bytes=written,
        other_miou=figures["other_miou"],
        differs=figures["differs"],
        only=(len(only[0]), len(only[1])),
    )


def _check(a: FinishedRun, b: FinishedRun) -> None:
    """Raise RunFolderError if the label maps of two runs cannot be compared."""
    if a.path.resolve() == b.path.resolve() and (a.corrections is None) == (b.corrections is None):
        raise RunFolderError(f"{b.path}: is the same run; give another one to compare with")
    if a.names != b.names:
        here, there = (", ".join(run.names[1:9]) for run in (a, b))
        raise RunFolderError(
            f"{b.path}: has other classes ({there}) than {a.path} ({here}); compare runs with the same classes"
        )
    if run_orientation(a.path) != run_orientation(b.path):
        raise RunFolderError(
            f"{b.path}: its masks match the {run_orientation(b.path)} images, those of {a.path} the "
            f"{run_orientation(a.path)} ones; make them with the same `orientation`"
        )


def _common(a: FinishedRun, b: FinishedRun) -> tuple[Sequence[Record], tuple[list[str], list[str]]]:
    """The records of A whose images also have a mask in B, and the ids that are in A and in B alone."""
    there = {record.id for record in b.records}
    places, here, alone = list[int](), set[str](), list[str]()
    for place, record in enumerate(a.records):
        here.add(record.id)
        if record.id in there:
            places.append(place)
        else:
            alone.append(record.id)
    if not places:
        raise RunFolderError(
            f"{b.path}: has no image in common with {a.path} ({sorted(there)[0]} there, {alone[0]} here); "
            "compare runs over the same images"
        )
    records = a.records
    return Mapped(len(places), lambda i: records[places[i]]), (alone, sorted(there - here))


def _difference(a: FinishedRun, b: FinishedRun, id: str, truth_of: TruthOf | None, side: int) -> Difference:
    """Read an image and both of its masks. Raises ImageError if one is invalid, or their sizes differ."""
    image = read_rgb(image_path(a.path, id, a.layout))
    mask = read_map(a.mask(id), image)
    other = read_map(b.mask(id), image)
    classes = len(a.names)
    maps = {"mask": mask, "other": other}
    pictures = {
        "image": photograph(image),
        **{name: index_png(labels, a.palette) for name, labels in maps.items()},
        "difference": index_png(_kinds(mask, other), ERROR_COLOURS),
    }
    trouble, truths = "", None
    if truth_of is not None:
        try:
            truth = read_truth(truth_of, id, mask, classes)
        except ImageError as error:
            trouble = str(error)
        else:
            maps["truth"], pictures["truth"] = truth, index_png(truth, a.palette)
            truths = joint_histogram(truth, mask), joint_histogram(truth, other)
    joint = joint_histogram(mask, other)
    ious = label_ious(_folded(joint), classes)
    in_a, in_b = ({int(v) for v in np.flatnonzero(joint.sum(axis)) if v != IGNORE} for axis in (1, 0))
    scores = [None, None] if truths is None else [_mean(label_ious(each, classes)) for each in truths]
    height, width = mask.shape
    return Difference(
        id=id,
        size=(width, height),
        differs=float((mask != other).mean()),
        agreement=_mean(ious) if ious else 1.0,
        ious=ious,
        labels=tuple(sorted(in_a | in_b)),
        only=(tuple(sorted(in_a - in_b)), tuple(sorted(in_b - in_a))),
        iou=scores[0],
        other=scores[1],
        pairs=tuple(_pairs(joint, NOTICED)),
        trouble=trouble,
        pictures=pictures,
        enlarged=enlarged(image, maps, side),
        joint=joint,
        truths=truths,
    )


def _mean(ious: Mapping[int, float]) -> float:
    return float(np.mean(list(ious.values()))) if ious else 0.0


def _kinds(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """uint8 (H, W), whether two masks agree at each pixel, have different classes, or only one of them has any."""
    kinds = np.where(mask == other, RIGHT, WRONG).astype(np.uint8)
    kinds[(mask != other) & ((mask == IGNORE) | (other == IGNORE))] = UNDECIDED
    return kinds


def _folded(joint: np.ndarray) -> np.ndarray:
    """A histogram in which the ignored pixels of A count as background, as those of B do in an evaluation."""
    folded = joint.copy()
    folded[0] += folded[IGNORE]
    folded[IGNORE] = 0
    return folded


def _pairs(joint: np.ndarray, least: float) -> Iterator[tuple[int, int, float]]:
    """Different labels of A and B at the same pixels and their share, from ``least`` on, the largest first."""
    shares = joint / max(1, int(joint.sum()))
    np.fill_diagonal(shares, 0)
    found = [
        (int(i), int(j), float(shares[i, j])) for i, j in zip(*np.nonzero(shares >= max(least, 1e-12)), strict=True)
    ]
    yield from sorted(found, key=lambda pair: (-pair[2], pair[:2]))


@dataclass
class _Totals:
    """Sums over the images in both runs; ``joint`` and ``truths`` are like those of ``Difference``."""

    joint: np.ndarray = field(default_factory=lambda: np.zeros((256, 256), np.int64))
    truths: tuple[np.ndarray, np.ndarray] = field(
        default_factory=lambda: (np.zeros((256, 256), np.int64), np.zeros((256, 256), np.int64))
    )
    present: np.ndarray = field(default_factory=lambda: np.zeros((2, 256), np.int64))
    only: np.ndarray = field(default_factory=lambda: np.zeros((2, 256), np.int64))
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    images: int = 0
    compared: int = 0

    def add(self, found: Difference) -> None:
        """Count an image."""
        self.images += 1
        self.joint += found.joint
        self.present += np.stack([found.joint.sum(1) > 0, found.joint.sum(0) > 0])
        for run, labels in enumerate(found.only):
            self.only[run, list(labels)] += 1
        self.pairs.update((a, b) for a, b, _ in found.pairs)
        if found.truths is not None:
            self.compared += 1
            for total, part in zip(self.truths, found.truths, strict=True):
                total += part

    def figures(self, run: FinishedRun) -> Mapping[str, Any]:
        """Totals and classes, with the names of the template."""
        between, *with_truth = (
            metrics.iou(metrics.resolve_ignored(confusion_matrix(joint, len(run.names)), "background"))
            for joint in (_folded(self.joint), *self.truths)
        )
        compared = self.compared > 0
        a, b = (float(metrics.mean(iou)) if compared else None for iou in with_truth)
        total = int(self.joint.sum())
        names = [*run.names, *(f"label {label}" for label in range(len(run.names), IGNORE)), "ignored"]
        shown = [(name, colour_of(colour)) for name, colour in zip(names, run.palette, strict=True)]
        pairs = [
            {"labels": [i, j], "shown": [shown[i], shown[j]], "share": share, "images": self.pairs[i, j]}
            for i, j, share in _pairs(self.joint, 0)
            if self.pairs[i, j]
        ]
        return {
            "images": self.images,
            "compared": self.compared,
            "differs": 1 - int(np.trace(self.joint)) / total if total else 0.0,
            "agreement": float(metrics.mean(between)),
            "miou": a,
            "other_miou": b,
            "change": None if a is None or b is None else a - b,
            "classes": [
                {
                    "label": label,
                    "name": run.names[label],
                    "colour": colour_of(run.palette[label]),
                    "images": [int(n) for n in self.present[:, label]],
                    "only": [int(n) for n in self.only[:, label]],
                    "share": [int(self.joint.sum(axis)[label]) / max(1, total) for axis in (1, 0)],
                    "agreement": _figure(between[label]),
                    "iou": [_figure(iou[label]) if compared else None for iou in with_truth],
                }
                for label in range(len(run.names))
            ],
            "pairs": pairs[:PAIRS],
            "more_pairs": len(pairs[PAIRS:]),
        }


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _gaps(a: FinishedRun, b: FinishedRun) -> str:
    return "; ".join(f"{run.path}: {run.gaps}" for run in (a, b) if run.gaps)


def _render(
    a: FinishedRun,
    b: FinishedRun,
    gallery: Gallery,
    figures: Mapping[str, Any],
    only: tuple[list[str], list[str]],
    failed: Sequence[tuple[str, str]],
) -> str:
    one, other = dict(facts(a.about["settings"])), dict(facts(b.about["settings"]))
    named = [run.path.resolve().name for run in (a, b)]
    titles = named if named[0] != named[1] else [str(run.path) for run in (a, b)]
    data = {
        "against": True,
        "compared": figures["compared"] > 0,
        "boxes": False,
        "phrases": {},
        "details": {},
        "pairs": [pair["labels"] for pair in figures["pairs"]],
    }
    empty = [e for e in figures["classes"][1:] if not any(e["images"]) and not any(v is not None for v in e["iou"])]
    return page(
        "against.html",
        a,
        gallery,
        data,
        figures,
        failed,
        title=f"{titles[0]} against {titles[1]}",
        titles=titles,
        gaps=_gaps(a, b),
        table=[entry for entry in figures["classes"] if entry not in empty],
        empty=empty,
        only=[{"run": name, "number": len(ids), "named": ids[:NAMED]} for name, ids in zip("AB", only, strict=True)],
        settings=[
            (key, one.get(key, "unset"), other.get(key, "unset"))
            for key in {**one, **other}
            if one.get(key, "unset") != other.get(key, "unset")
        ],
    )
