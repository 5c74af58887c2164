"""An image folder for Hugging Face datasets.

::

    OUT/train/images/<id>.jpg, .png, ...
    OUT/train/labels/<id>.png       index PNGs
    OUT/train/metadata.jsonl        file_name, label_file_name and id of each image
    OUT/validation/...              the validation part
    OUT/id2label.json               {"0": "background", "1": ...}; 255 (ignore) has no entry
    OUT/README.md                   the card, with the metadata of the Hub

``datasets.load_dataset("imagefolder", data_dir=OUT)`` has the columns image, label and id. Folders in ids become part
of the file name, because a folder named ``test`` would be read as a split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...io.files import write_json, write_text
from ..finished import FinishedRun
from .parts import Part

USE = "datasets.load_dataset('imagefolder', data_dir='{out}')"
_SPLITS = {"train": "train", "val": "validation"}


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    for part in parts:
        split = folder / _SPLITS[part.name]
        lines = []
        for picture in part:
            image = f"images/{picture.name}{picture.suffix}"
            label = f"labels/{picture.name}.png"
            picture.put_image(split / image)
            picture.put_mask(split / label)
            lines.append(json.dumps({"file_name": image, "label_file_name": label, "id": picture.entry.id}))
        write_text(split / "metadata.jsonl", "".join(f"{line}\n" for line in lines))
    write_json(folder / "id2label.json", {str(label): name for label, name in enumerate(run.names)})
