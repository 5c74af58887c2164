"""What Label Studio exports as JSON: tasks with annotations.

Annotations win over predictions, and the latest annotation over the others, unless an annotator is named; skipped ones
do not count. Brush masks are painted in their order, later ones on top. Label Studio draws brushes with soft edges:
pixels with at least half the largest alpha of a mask belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ...data.brush import decode_brush
from ...errors import DataError, one_line
from ...io.text import read_json
from ..export.editor_labels import editor_labels, label_of
from ..export.labelstudio import NAME as OWN_NAME
from ..export.tags import find_tag
from ..finished import FinishedRun
from .edited import Edited, Options

NAME = "Label Studio"

_OTHER_SHAPES = ("polygonlabels", "rectanglelabels", "ellipselabels", "keypointlabels", "vectorlabels")


def read(place: Path, run: FinishedRun, options: Options) -> Iterator[Edited]:
    """The annotated tasks of a JSON file, or of all in a folder. Raises DataError."""
    labels = editor_labels(run.names)
    for path in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
        tasks = read_json(path)
        if place.is_dir() and not isinstance(tasks, list):  # such as the export.json of our own
            continue
        if not isinstance(tasks, list) or not all(
            isinstance(t, dict) and isinstance(t.get("data"), dict) for t in tasks
        ):
            raise DataError(f"{path}: not Label Studio tasks; export the project as JSON (not JSON-MIN)")
        for number, task in enumerate(tasks, 1):
            where = f"{path.name}, task {number}"
            name = _name(task["data"])
            try:
                annotation = _chosen(task.get("annotations") or [], options.annotator)
                result = None if annotation is None else annotation["result"]
                if result is not None and not isinstance(result, list):
                    raise TypeError("a result that is no list")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{where}: malformed annotation ({one_line(error)}); export it again") from None
            yield Edited(name, None if result is None else partial(_painted, result, labels, where))


def _name(data: Mapping[str, Any]) -> str:
    """The text in a task's data that has a tag; without any the URL of the image."""
    texts = [text for text in (data.get(OWN_NAME), *data.values()) if isinstance(text, str)]
    tagged = [text for text in texts if find_tag(text)]
    return unquote((tagged or texts or ["a task"])[0])


def _chosen(annotations: list[dict[str, Any]], annotator: str | None) -> dict[str, Any] | None:
    """The annotation to use; None if there is none."""
    found = [a for a in annotations if not a.get("was_cancelled")]
    if annotator is not None:
        found = [a for a in found if annotator in _people(a.get("completed_by"))]
    return max(found, key=_when, default=None)  # of equals the first: Label Studio lists the latest first


def _people(completed_by: Any) -> tuple[str, ...]:
    if isinstance(completed_by, dict):
        return tuple(str(completed_by[key]) for key in ("email", "id", "username") if key in completed_by)
    return (str(completed_by),)


def _when(annotation: Mapping[str, Any]) -> datetime:
    text = annotation.get("updated_at") or annotation.get("created_at")
    when = datetime.fromisoformat(text) if text else datetime.min
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _painted(
    result: list[Any], labels: Mapping[str, int], where: str, shape: tuple[int, int], before: np.ndarray | None
) -> np.ndarray:
    out = np.zeros(shape, np.uint8)
    for item in result:
        try:
            kind = item["type"]
            if kind in _OTHER_SHAPES:
                raise DataError(f"{where}: has an object of type {kind}; only brush masks are imported")
            if kind != "brushlabels":  # a relation, a choice, a text
                continue
            size = (item["original_height"], item["original_width"])
            if item.get("image_rotation"):
                raise DataError(f"{where}: its image was rotated in Label Studio; rotate it back")
            value = item["value"]
            names = value["brushlabels"]
            if size != shape:
                raise DataError(
                    f"{where}: {size[1]!r:.20} x {size[0]!r:.20} but {shape[1]} x {shape[0]} pixels in the run; import "
                    "masks in the size of the images"
                )
            if len(names) != 1 or value["format"] != "rle":
                raise ValueError(f"a brush mask with {len(names)} labels in the format {value['format']!r:.20}")
            label = label_of(str(names[0]), labels, where)
            if value["rle"]:
                alpha = decode_brush(value["rle"], *shape)
                out[(alpha > 0) & (alpha >= alpha.max() / 2)] = label
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: malformed brush mask ({one_line(error)}); correct or remove it") from None
    return out
