"""A folder of labelme's JSON files.

Shapes are painted as ``labelme.utils.shapes_to_label`` does it, in their order, later ones on top.

The exported polygons are not exact. So only what they and those of the file paint differently is taken from the file,
and all other pixels are those of the exported mask.
"""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...data.images import read_labels
from ...errors import DataError, ImageError, one_line
from ...io.text import read_json
from ..export.editor_labels import label_of
from ..export.labelme import labelme_labels, painted, polygons
from ..export.tags import find_tag
from ..finished import FinishedRun
from .edited import Edited, Options

NAME = "labelme"


def read(place: Path, run: FinishedRun, options: Options) -> Iterator[Edited]:
    """The label maps of the JSON files in a folder, or of a single one. Raises DataError."""
    labels = labelme_labels(run.names)
    for path in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
        table = read_json(path)
        if not isinstance(table, dict) or not isinstance(table.get("shapes"), list):
            if place.is_dir():  # such as the export.json of our own
                continue
            raise DataError(f"{path}: not a file of labelme (it has no shapes)")
        name = path.name if find_tag(path.name) else str(table.get("imagePath", path.name))
        yield Edited(name, partial(_labels, table, labels, path.name))


def _labels(
    table: dict[str, Any], labels: Mapping[str, int], where: str, shape: tuple[int, int], before: np.ndarray | None
) -> np.ndarray:
    size = (table.get("imageHeight"), table.get("imageWidth"))
    if size != shape:
        raise DataError(
            f"{where}: {size[1]!r:.20} x {size[0]!r:.20} but {shape[1]} x {shape[0]} pixels in the run; import masks "
            "in the size of the images"
        )
    image = Image.fromarray(np.zeros(shape, np.uint8))
    for number, item in enumerate(table["shapes"], 1):
        try:
            label = label_of(str(item["label"]), labels, f"{where}, shape {number}")
            image = _drawn(image, item, label)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ImageError) as error:
            raise DataError(f"{where}, shape {number}: malformed ({one_line(error)}); correct or remove it") from None
    found = np.array(image)
    if before is None:
        return found
    return np.where(found == painted(polygons(before), before.shape), before, found)


def _drawn(image: Image.Image, item: dict[str, Any], label: int) -> Image.Image:
    """A label map with a shape drawn into it. Raises ValueError and others for a malformed one."""
    kind = item.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in item["points"]]
    side = max(image.size)
    if not all(math.isfinite(v) and -side <= v <= 2 * side for point in points for v in point):
        raise ValueError("points far outside of the image")
    if kind == "mask":
        found = np.array(image)
        found[_stored(item["mask"], points, found.shape)] = label
        return Image.fromarray(found)
    draw = ImageDraw.Draw(image)
    if kind in ("polygon", "oriented_rectangle") and len(points) > 2:
        draw.polygon(points, outline=label, fill=label)
    elif kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        draw.rectangle(((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))), outline=label, fill=label)
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points[0], points[1]
        radius = math.dist((x, y), edge)
        draw.ellipse(((x - radius, y - radius), (x + radius, y + radius)), outline=label, fill=label)
    else:
        raise ValueError(f"a {kind!r:.30} with {len(points)} points has no area")
    return image


def _stored(text: Any, points: list[tuple[float, float]], shape: tuple[int, ...]) -> np.ndarray:
    """A mask that labelme stores as the base64 of a PNG, within a box whose corners are included."""
    (x0, y0), (x1, y1) = points
    left, top, right, bottom = int(x0), int(y0), int(x1), int(y1)
    with tempfile.TemporaryDirectory(prefix="wsss-seed-") as folder:
        file = Path(folder) / "mask.png"
        file.write_bytes(base64.b64decode(text, validate=True))
        values = read_labels(file)
    if left < 0 or top < 0 or values.shape != (bottom - top + 1, right - left + 1):
        raise ValueError("a mask that does not fit its box")
    out = np.zeros(shape, bool)
    if out[top : bottom + 1, left : right + 1].shape != values.shape:
        raise ValueError("a mask outside of the image")
    out[top : bottom + 1, left : right + 1] = values > 0
    return out
