"""Index PNGs in the format of YOLO's semantic segmentation (``task=semantic`` of ultralytics, since 8.4).

::

    OUT/images/train/<id>.jpg, .png, ...
    OUT/masks/train/<id>.png        greyscale: 0 background, 1..K classes, 255 ignored
    OUT/data.yaml                   paths of the parts, ``masks_dir``, names of the classes, background first

and the same with ``val``. The whole label map is preserved: 255 is the label that losses and metrics leave out. Masks
have no palette, since ultralytics would take the grey levels of a grey palette for labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...io.files import write_text
from ...io.png import write_grey
from ..finished import FinishedRun
from .parts import Part

USE = "yolo semantic train model=yolo26n-sem.pt data={out}/data.yaml"


def write(folder: Path, run: FinishedRun, parts: Sequence[Part]) -> None:
    """Write the export to the folder. Raises OSError."""
    for part in parts:
        for picture in part:
            picture.put_image(folder / "images" / part.name / f"{picture.name}{picture.suffix}")
            write_grey(folder / "masks" / part.name / f"{picture.name}.png", picture.labels)
    lines = ["train: images/train"]
    # YOLO requires a validation part.
    lines.append("val: images/val" if len(parts) > 1 else "val: images/train  # no ground truth was given with --val")
    lines += ["masks_dir: masks", "names:"]
    lines += [f"  {label}: {json.dumps(name)}" for label, name in enumerate(run.names)]
    write_text(folder / "data.yaml", "".join(f"{line}\n" for line in lines))
