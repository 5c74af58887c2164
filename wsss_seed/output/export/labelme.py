"""Polygons for labelme.

::

    OUT/images/<name>.jpg, .png, ...    the images; <name> has a tag (see ``tags``)
    OUT/images/<name>.json              their polygons
    OUT/labels.txt                      the labels, as labelme and its labelme2voc read them

A polygon is the outline of a 4-connected region, with its holes filled; what is in a hole is painted later,
background in holes as polygons of ``_background_``. Painted in their order, outlines included, as
``labelme.utils.shapes_to_label`` does it, outlines of all corners would give the label map back exactly (ours; larger
fills come first, and no such region lies partly in the fill of another). But they are steps of single pixels, which
nobody can edit, so outlines are simplified until they are a pixel off at most (Douglas and Peucker, 1973). **This loses
pixels along edges**: 0.5 % of all pixels in masks of toyland, more where masks are ragged; ``write`` measures it.
``import`` therefore takes only those pixels from a file that its polygons paint differently than the exported ones.
Pixels of 255 are polygons of ``__ignore__``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...data.classes import IGNORE
from ...io.files import write_text
from ..finished import FinishedRun
from .parts import Part
from .tags import Tagger

USE = (
    "labelme {out}/images --labels {out}/labels.txt; the edited files come back with wsss-seed import labelme RUN "
    "{out}/images"
)

TOLERANCE = 1.0
"""How far a polygon may be off, in pixels."""


def labelme_labels(names: Sequence[str]) -> dict[str, int]:
    """Name in labelme -> label of a label map, in the order of labels.txt.

    Args:
        names: of the classes, background first.
    """
    ignore = "__ignore__"
    while ignore in names:
        ignore += " (255)"
    return {ignore: IGNORE, "_background_": 0, **{name: label for label, name in enumerate(names) if label}}


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> str:
    """Write the export to the folder, and return how much was lost. Raises OSError."""
    labels, tagger = labelme_labels(run.names), Tagger(run)
    shown = {label: name for name, label in labels.items()}
    lost = pixels = 0
    for picture in parts[0]:
        name = tagger.name(picture.entry.id, picture.entry.mask)
        file = f"{name}{picture.suffix}"
        picture.put_image(folder / "images" / file)
        found = polygons(picture.labels)
        lost += int((painted(found, picture.labels.shape) != picture.labels).sum())
        pixels += picture.labels.size
        height, width = picture.labels.shape
        shapes = [
            {
                "label": shown[label],
                "points": points.astype(float).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for label, points in found
        ]
        about: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": file}
        about |= {"imageData": None, "imageHeight": height, "imageWidth": width}
        write_text(folder / "images" / f"{name}.json", json.dumps(about, indent=1) + "\n")
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in labels))
    share = f"{100 * lost / max(1, pixels):.2f} %"
    return f"polygons differ from the masks in {share} of the pixels; import changes only pixels that were edited"


def polygons(labels: np.ndarray, tolerance: float = TOLERANCE) -> list[tuple[int, np.ndarray]]:
    """Label and vertices int (n, 2) x y, n at least 3, of the polygons of a label map, in the order of painting.

    Args:
        labels: uint8 (H, W).
        tolerance: how far they may be off, in pixels; 0 for exact ones.
    """
    import cv2

    found: list[tuple[int, int, np.ndarray, np.ndarray]] = []  # filled pixels, label, outline, its box
    for label in np.unique(labels):
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=4)
        for piece in range(1, count):
            x, y, width, height, _ = stats[piece]
            mask = (pieces[y : y + height, x : x + width] == piece).astype(np.uint8)
            (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            filled = int(cv2.drawContours(mask, [outline], 0, 1, cv2.FILLED).sum())
            found.append((filled, int(label), outline, np.array([x, y])))
    found.sort(key=lambda item: -item[0])
    canvas = np.zeros(labels.shape, np.uint8)
    kept = []
    for _, label, outline, corner in found:
        exact = outline.reshape(-1, 2) + corner
        if label == 0 and not canvas[exact[0, 1], exact[0, 0]]:
            continue  # nothing was painted here, since it would cover the whole region
        cv2.drawContours(canvas, [exact.reshape(-1, 1, 2)], 0, label, cv2.FILLED)
        points = exact
        if tolerance and len(exact) > 3:
            points = cv2.approxPolyDP(exact.reshape(-1, 1, 2).astype(np.int32), tolerance, True).reshape(-1, 2)
        kept.append((label, np.concatenate([points, *[points[-1:]] * (3 - len(points))])))
    return kept


def painted(shapes: Sequence[tuple[int, np.ndarray]], shape: Sequence[int]) -> np.ndarray:
    """Polygons painted on background in their order as labelme does it, uint8 (H, W).

    Args:
        shapes: label and vertices (n, 2) of each.
        shape: H and W.
    """
    image = Image.fromarray(np.zeros(tuple(shape), np.uint8))
    draw = ImageDraw.Draw(image)
    for label, points in shapes:
        draw.polygon([(x, y) for x, y in points.tolist()], outline=label, fill=label)
    return np.array(image)
