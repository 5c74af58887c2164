"""Tasks for Label Studio, with the masks as pre-annotations.

::

    OUT/images/<name>.jpg, .png, ...    the images; <name> has a tag (see ``tags``)
    OUT/tasks.json                      a task per image, whose prediction has a brush mask per class
    OUT/config.xml                      the labelling interface, for the tab Code of the project's settings

A task refers to its image by URL. By default it is that of a local file below OUT, which Label Studio serves if it
runs with ``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` set to OUT,
and the project has OUT/images as a local storage. Pixels of 255 are a brush mask of the label ``ignore``, and pixels
without a brush mask are background.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from ...data.brush import encode_brush
from ...io.files import write_lines, write_text
from ..finished import FinishedRun
from .editor_labels import Colour, distinct_colours, editor_labels
from .parts import Part
from .tags import Tagger

USE = (
    "a Label Studio project with {out}/config.xml; import {out}/tasks.json; its export as JSON comes back with "
    "wsss-seed import labelstudio"
)
LOCAL = "/data/local-files/?d=images/"

NAME = "wsss_seed"
"""Entry of a task's data with the name of its image, which has the tag even if the URL of the image has not."""


def write(folder: Path, run: FinishedRun, parts: Sequence[Part], *, image_url_prefix: str = LOCAL) -> None:
    """Write the export to the folder.

    Args:
        folder: where to.
        run: the run.
        parts: one part.
        image_url_prefix: what the URLs of images begin with.

    Raises OSError.
    """
    labels, tagger = editor_labels(run.names), Tagger(run)
    colours = distinct_colours(run.palette, labels)

    def tasks() -> Any:
        before = b"[\n"
        for picture in parts[0]:
            name = tagger.name(picture.entry.id, picture.entry.mask)
            file = f"{name}{picture.suffix}"
            picture.put_image(folder / "images" / file)
            task = {
                "data": {"image": image_url_prefix + quote(file), NAME: name, "id": picture.entry.id},
                "predictions": [{"model_version": "wsss-seed", "result": results(picture.labels, labels, name)}],
            }
            yield before + json.dumps(task).encode()
            before = b",\n"
        yield b"\n]\n" if before == b",\n" else b"[]\n"

    write_lines(folder / "tasks.json", tasks())
    write_text(folder / "config.xml", config(labels, colours))


def results(labels: np.ndarray, names: Mapping[str, int], seed: str) -> list[dict[str, Any]]:
    """A brush mask per class of a label map, uint8 (H, W).

    Args:
        labels: the label map.
        names: name -> label.
        seed: makes the ids of the results differ from those of other images.
    """
    height, width = labels.shape
    found = []
    for name, label in names.items():
        mask = labels == label
        if label and mask.any():
            found.append(
                {
                    "id": hashlib.sha256(f"{seed} {label}".encode()).hexdigest()[:10],
                    "type": "brushlabels",
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [name]},
                }
            )
    return found


def config(labels: Mapping[str, int], colours: Mapping[int, Colour]) -> str:
    """The labelling interface as XML."""
    lines = ["<View>", '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>']
    lines.append('  <BrushLabels name="label" toName="image">')
    for name, label in labels.items():
        if label:
            colour = "#{:02x}{:02x}{:02x}".format(*colours[label])
            lines.append(f"    <Label value={quoteattr(name)} background={quoteattr(colour)}/>")
    return "".join(f"{line}\n" for line in [*lines, "  </BrushLabels>", "</View>"])
