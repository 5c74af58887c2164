"""Polygons in the format of YOLO segmentation.

::

    OUT/images/train/<id>.jpg, .png, ...
    OUT/labels/train/<id>.txt       class x y x y ..., one region per line; classes count from 0, without background
    OUT/data.yaml                   paths of the parts, names of the classes

and the same with ``val``. The format holds less than a label map:

- There is no ignore label: pixels of 255 become background. (There is one in ``yolo_semantic``.)
- Each line is one outline. Every connected region has its own line, although it may be a part of an object or several
  objects. A hole is joined to the outline by a seam of zero width.
- Coordinates are pixel centres, normalised by the size of the image. Filled at that size, outlines included, they
  reproduce the label map except at seams of touching holes; readers that resize first lose up to a pixel along edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...data.classes import IGNORE
from ...io.files import write_text
from ..finished import FinishedRun
from .parts import Part

USE = "yolo segment train data={out}/data.yaml"


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    for part in parts:
        for picture in part:
            picture.put_image(folder / "images" / part.name / f"{picture.name}{picture.suffix}")
            write_text(folder / "labels" / part.name / f"{picture.name}.txt", label_file(picture.labels))
    lines = ["train: images/train"]
    # YOLO requires a validation part.
    lines.append("val: images/val" if len(parts) > 1 else "val: images/train  # no ground truth was given with --val")
    lines.append("names:")
    lines += [f"  {number}: {json.dumps(name)}" for number, name in enumerate(run.names[1:])]
    write_text(folder / "data.yaml", "".join(f"{line}\n" for line in lines))


def label_file(labels: np.ndarray) -> str:
    """The lines of an image's label file.

    Args:
        labels: uint8 (H, W); 0 background, 1..K classes, 255 ignore.
    """
    height, width = labels.shape
    lines = []
    for label in np.unique(labels[(labels != 0) & (labels != IGNORE)]):
        for polygon in polygons(labels == label):
            # Pixel centres: readers truncate, which gives the right pixel however the text is rounded.
            shares = (polygon + 0.5) / (width, height)
            lines.append(" ".join([str(label - 1), *(f"{value:.6f}" for value in shares.ravel())]) + "\n")
    return "".join(lines)


def polygons(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The outline of each 8-connected region of a mask with its holes joined to it, int (n, 2) x y, n at least 3.

    Args:
        mask: bool (H, W).
    """
    import cv2

    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return
    inside = tree.reshape(-1, 4)[:, 3]  # index of the outline around a hole, -1 for an outline
    for number, contour in enumerate(contours):
        if inside[number] == -1:
            holes = [contours[int(hole)].reshape(-1, 2) for hole in np.flatnonzero(inside == number)]
            polygon = _corners(_with_holes(contour.reshape(-1, 2), holes))
            yield np.concatenate([polygon, *[polygon[-1:]] * (3 - len(polygon))])  # readers take two points for a box


def _with_holes(outline: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One closed line through the outline and all holes; the nearest hole is joined first, at its nearest point."""
    line = outline
    while holes:
        nearest = [_nearest(line, hole) for hole in holes]
        which = min(range(len(holes)), key=lambda i: nearest[i][0])
        _, here, there = nearest[which]
        hole = np.roll(holes.pop(which), -there, axis=0)
        line = np.concatenate([line[: here + 1], hole, hole[:1], line[here:]])
    return line


def _nearest(line: np.ndarray, hole: np.ndarray) -> tuple[int, int, int]:
    """Squared distance and indices of the nearest points of two lines."""
    best = (np.iinfo(np.int64).max, 0, 0)
    for there, point in enumerate(hole.astype(np.int64)):
        distance = ((line - point) ** 2).sum(1)
        here = int(distance.argmin())
        best = min(best, (int(distance[here]), here, there))
    return best


def _corners(line: np.ndarray) -> np.ndarray:
    """A closed line without the points inside straight segments."""
    step = np.roll(line, -1, 0) - line
    return line[(step != np.roll(step, 1, 0)).any(1)] if len(line) > 2 else line
