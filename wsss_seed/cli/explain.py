"""``wsss-seed explain``: how the mask of one image came about."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from . import options, show

if TYPE_CHECKING:
    from ..run.explain import Explanation

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def explain(
    run: options.Run,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Id of an image, or the name of its file.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        options.option("--out", "-o", help="Picture to write, .png or .jpg: the image with all boxes."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Explain the mask of an image: which classes were asked, which boxes found, and which threshold decided."""
    from ..run.explain import explain

    if out is not None and out.suffix.lower() not in _FORMATS:
        raise UsageError(f"{out}: give `out` the name of a .png or .jpg file")
    found = explain(run, image)
    if out is not None:
        from ..io.files import write_bytes
        from ..output.run_folder import write_error

        buffer = io.BytesIO()
        found.picture().save(buffer, _FORMATS[out.suffix.lower()])
        try:
            write_bytes(out, buffer.getvalue())
        except OSError as error:
            raise write_error(out, error) from error
    if json:
        show.as_json(found.to_json() | {"picture": None if out is None else str(out)})
        return
    show_explanation(found)
    if out is not None:
        show.result(f"picture: {out}")


def show_explanation(found: Explanation) -> None:
    """Print an explanation: the classes and the boxes as tables, and what decided about each."""
    record = found.record
    size = "" if record.size is None else f", {record.size[0]} x {record.size[1]} pixels"
    ignored = "" if record.ignore is None else f", {show.percent(record.ignore)} % ignored"
    labels = "none given" if record.labels is None else ", ".join(record.labels) or "no class"
    if record.error is not None:
        show.result(f"{record.id} failed: {record.error}")
        return
    show.result(f"{record.id}{size}{ignored}; labels: {labels}")
    for note in record.notes:
        show.result(note)
    if found.classes:
        area = 1 if record.size is None else max(1, record.size[0] * record.size[1])
        show.table(
            "Classes",
            ["class", "asked", "CLIP", "score", "boxes", "% of pixels"],
            [
                [
                    c.name,
                    "yes" if c.asked else "no",
                    _figure(c.clip),
                    _figure(c.score),
                    ", ".join(f"{c.boxes[role]} {text}" for role, text in _ROLES.items() if c.boxes.get(role)) or "-",
                    show.percent(c.pixels / area),
                ]
                for c in found.classes
            ],
        )
        alike: dict[str, list[str]] = {}
        for c in found.classes:
            if c.why is not None:
                alike.setdefault(f"{'asked' if c.asked else 'not asked'}: {c.why}", []).append(c.name)
        for reason, names in alike.items():
            show.result(f"{', '.join(names)} {reason}")
    if found.boxes:
        show.table(
            "Boxes",
            ["box", "class", "detector", "crop", "combined", "role"],
            [
                [
                    str(number),
                    box.cls,
                    _figure(box.score),
                    _figure(box.crop_probability),
                    _figure(box.combined_score),
                    _ROLES[box.role],
                ]
                for number, box in enumerate(found.boxes, 1)
            ],
        )
        for number, (box, reason) in enumerate(zip(found.boxes, found.reasons, strict=True), 1):
            show.result(f"{number} {box.cls}, {_ROLES[box.role]}: {reason}")
    elif found.mode is not None:
        asked = any(c.asked for c in found.classes)
        show.result("no box above any threshold" if asked else "no boxes: no class was asked")
    else:
        others = ", ".join(f"{key}: {value}" for key, value in found.record.evidence.items())
        show.result(f"no boxes: the backend labels masks, not boxes{f' ({others})' if others else ''}")


_ROLES = {"confident": "painted", "ambiguous": "ambiguous", "dropped": "dropped"}


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
