"""A dataset that FiftyOne imports as ``fiftyone.types.FiftyOneDataset``.

::

    OUT/metadata.json                   classes, and the names of the labels in masks
    OUT/samples.json                    a sample per image, with the fields below
    OUT/data/<name>.jpg, .png, ...      links to the images; <name> has a tag (see ``tags``)
    OUT/fields/mask/<name>.png          greyscale: 0 background, 1..K classes, 255 ignored
    OUT/fields/confidence/<name>.png    confidence, 0..255

Fields of a sample: ``mask`` (Segmentation) and ``confidence`` (Heatmap) with their files, ``scores`` (Classifications)
of the classes, ``boxes`` (Detections) with their scores, what they contribute and why, ``doubt`` (see ``worst``),
``ignored`` (share of pixels), ``notes``, ``run_id`` (the id of the image), and ``wsss_seed`` (<name>). Samples are
plain JSON, which FiftyOne calls its legacy format and detects by itself, since the current one is a dump of its
database and changes with every version of it. Images are not copied, unless asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.classes import IGNORE
from ...errors import ImageError
from ...io.files import write_json, write_lines
from ...io.png import write_grey
from ..finished import FinishedRun
from ..manifest import Manifest, Record
from ..report.evidence import EvidenceOf, no_evidence
from ..worst import doubt
from .editor_labels import editor_labels
from .parts import Part
from .tags import Tagger

USE = (
    "fiftyone.Dataset.from_dir('{out}', dataset_type=fiftyone.types.FiftyOneDataset); its export as FiftyOneDataset "
    "comes back with wsss-seed import fiftyone"
)


def write(folder: Path, run: FinishedRun, parts: Sequence[Part], *, evidence_of: EvidenceOf = no_evidence) -> None:
    """Write the export to the folder.

    Args:
        folder: where to.
        run: the run.
        parts: one part.
        evidence_of: for the boxes of an image.

    Raises OSError.
    """
    tagger = Tagger(run)

    def samples() -> Any:
        before = b'{"samples": [\n'
        with Manifest(run.path) as manifest:
            for picture in parts[0]:
                name = tagger.name(picture.entry.id, picture.entry.mask)
                file = f"{name}{picture.suffix}"
                picture.put_image(folder / "data" / file)
                write_grey(folder / "fields" / "mask" / f"{name}.png", picture.labels)
                record = manifest[picture.entry.id]
                height, width = picture.labels.shape
                sample: dict[str, Any] = {
                    "filepath": f"data/{file}",
                    "tags": [],
                    "wsss_seed": name,
                    "run_id": record.id,
                }
                sample["mask"] = {"_cls": "Segmentation", "mask_path": f"fields/mask/{name}.png"}
                sample |= _fields(record, run.names, evidence_of, width, height)
                try:
                    write_grey(folder / "fields" / "confidence" / f"{name}.png", run.confidence(record.id))
                except ImageError:  # masks may be used without it
                    pass
                else:
                    path = f"fields/confidence/{name}.png"
                    sample["confidence"] = {"_cls": "Heatmap", "map_path": path, "range": [0, 255]}
                yield before + json.dumps(sample).encode()
                before = b",\n"
        yield b"\n]}\n"

    write_lines(folder / "samples.json", samples())
    targets = {str(label): name for name, label in editor_labels(run.names).items()}
    info = {
        "description": f"{run.path.name}: pseudo-masks of wsss-seed",
        "default_classes": list(run.names[1:]),
        "default_mask_targets": targets,
        "ignore_label": IGNORE,
    }
    write_json(folder / "metadata.json", {"media_type": "image", "info": info})


def _fields(record: Record, names: Sequence[str], evidence_of: EvidenceOf, width: int, height: int) -> dict[str, Any]:
    """What a record says about an image, as fields of a sample."""
    boxes = []
    for box in evidence_of(record).boxes:
        x0, y0, x1, y1 = box.box
        relative = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        found = {"_cls": "Detection", "label": box.cls, "bounding_box": relative, "confidence": box.score}
        boxes.append(found | {"final": box.final, "role": box.role, "why": box.why})
    scores = [
        {"_cls": "Classification", "label": name, "confidence": score}
        for name, score in record.scores.items()
        if score is not None
    ]
    return {
        "scores": {"_cls": "Classifications", "classifications": scores},
        "boxes": {"_cls": "Detections", "detections": boxes},
        "doubt": round(doubt(record, names), 6),
        "ignored": record.ignore,
        "notes": list(record.notes),
    }
