"""The HTML page: a template, a style sheet, a script, and the images inside it or in files beside it.

The contents of a run are not trusted: the template escapes them, the script sets text only, and a content security
policy in the page forbids any other script and any external address.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from ... import __version__
from ...data.classes import IGNORE
from ...io.files import plain
from ..finished import FinishedRun
from .card import ERROR_COLOURS, UNCOUNTED, UNDECIDED, WRONG
from .gallery import CHUNK, INDEXED, Gallery

SCRIPTS = ("elements", "parts", "state", "labels", "viewer", "classes", "gallery", "start")
"""The parts of the script in the order in which they are joined."""

INSIDE, BESIDE = "img-src data:; script-src", "img-src 'self' file: data:; script-src 'self' file:"
"""What the page may load: nothing, or from a folder pictures and scripts beside it."""

Failed = Sequence[tuple[str, str]]


def render(run: FinishedRun, gallery: Gallery, figures: Mapping[str, Any], failed: Failed) -> str:
    """The page of a run as text.

    Args:
        run: the run.
        gallery: the images to show.
        figures: totals and classes, with the names of the template.
        failed: id and error of the images that could not be read or compared.
    """
    table = [entry for entry in figures["classes"] if not entry["label"] or _says_something(entry)]
    details = ("images", "mean_share", "largest_share", "uncertainty", "boxes", "reasons", "rivals")
    data = {
        "compared": figures["compared"] > 0,
        "boxes": gallery.with_boxes > 0,
        "phrases": _phrases(run),
        "details": {entry["label"]: {key: entry[key] for key in details} for entry in table if entry["label"]},
        "pairs": [pair["labels"] for pair in figures["pairs"]],
    }
    return page(
        "run.html",
        run,
        gallery,
        data,
        figures,
        # Images that the run could not seed, then masks that could not be read here.
        [*((record.id, record.error or "") for record in run.failed), *failed],
        title=run.path.resolve().name,
        table=table,
        empty=[entry for entry in figures["classes"] if entry not in table],
        scored=any(entry["score"] is not None for entry in figures["classes"]),
        missing=any(entry["missed"] for entry in figures["classes"]),
        boxed=any(sum(entry["boxes"].values()) for entry in figures["classes"]),
        missing_shown=gallery.with_missed,
        boxes=gallery.with_boxes > 0,
    )


def _says_something(entry: Mapping[str, Any]) -> bool:
    """Whether a class has pixels, boxes or ground truth, or may have been missed."""
    return bool(entry["images"] or entry["missed"] or entry["iou"] is not None or sum(entry["boxes"].values()))


def page(
    template: str,
    run: FinishedRun,
    gallery: Gallery,
    data: Mapping[str, Any],
    figures: Mapping[str, Any],
    failed: Failed,
    **more: Any,
) -> str:
    """A page as text.

    Args:
        template: name of the template.
        run: the run whose classes and settings it shows.
        gallery: the images to show.
        data: what its script needs besides classes, colours and images.
        figures: totals and classes, with the names of the template.
        failed: id and error of the images that could not be read or compared.
        more: further values of the template.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["signed"] = lambda value: "–" if value is None else f"{100 * value:+.1f}"
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["value"] = lambda value: "" if value is None else value
    script = _script()
    error_colours = [colour_of(colour) for colour in ERROR_COLOURS]
    kinds = {"wrong": WRONG, "undecided": UNDECIDED, "uncounted": UNCOUNTED}
    known = {
        "names": run.names,
        "colours": [colour_of(run.palette[label]) for label in range(len(run.names))],
        "ignored": colour_of(run.palette[IGNORE]),
        "errorColours": error_colours,
        "kinds": kinds,
        "cards": gallery.cards,
        "parts": gallery.parts,
        "indexed": INDEXED,
        "chunk": CHUNK,
    }
    return environment.get_template(template).render(
        run=run,
        figures=figures,
        shown=gallery.shown,
        pairs_shown=gallery.with_pairs,
        failed=failed,
        facts=facts(run.about),
        colour_of=kinds,
        error_colours=error_colours,
        data=plain({**known, **data}),
        enlarged=gallery.enlarged,
        style=(resources.files(__package__) / "page.css").read_text("utf-8"),
        script=script,
        policy=BESIDE if gallery.parts else INSIDE,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
        **more,
    )


def _script() -> str:
    """The parts of the script in one block, so that none of their names is global."""
    folder = resources.files(__package__) / "script"
    return '"use strict";\n{\n' + "\n".join((folder / f"{name}.js").read_text("utf-8") for name in SCRIPTS) + "}\n"


def colour_of(colour: tuple[int, int, int]) -> str:
    """A colour in the notation of style sheets."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _phrases(run: FinishedRun) -> dict[str, list[str]]:
    """The phrases by which the detector was asked for a class, where they differ from its name."""
    class_set = run.about["settings"].get("class_set")
    phrases = class_set.get("phrases") if isinstance(class_set, Mapping) else None
    if not isinstance(phrases, Mapping):
        return {}
    return {
        name: [str(phrase) for phrase in found]
        for name, found in phrases.items()
        if isinstance(found, list) and found != [name]
    }


def facts(about: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The contents of ``run.json`` as dotted keys and texts."""
    found: list[tuple[str, str]] = []
    for key, value in about.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += facts(value, f"{name}.")
        elif isinstance(value, list):
            found.append((name, ", ".join(map(str, value))))
        else:
            found.append((name, "" if value is None else str(value)))
    return found
