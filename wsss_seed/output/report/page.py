"""The HTML page: a template, a style sheet, a script and all pictures in a single file.

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
from .card import ERROR_COLOURS, UNCOUNTED, UNDECIDED, WRONG, Card

SCRIPTS = ("elements", "state", "labels", "viewer", "classes", "gallery", "start")
"""The parts of the script in the order in which they are joined."""


def render(
    run: FinishedRun, cards: Sequence[Card], figures: Mapping[str, Any], failed: Sequence[tuple[str, str]]
) -> str:
    """The page as text.

    Args:
        run: the run.
        cards: the images to show.
        figures: totals and classes, with the names of the template.
        failed: id and error of the images that could not be read or compared.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["value"] = lambda value: "" if value is None else value
    script = _script()
    error_colours = [_hex(colour) for colour in ERROR_COLOURS]
    kinds = {"wrong": WRONG, "undecided": UNDECIDED, "uncounted": UNCOUNTED}
    boxes = any(card.boxes for card in cards)
    data = {
        "names": run.names,
        "colours": [entry["colour"] for entry in figures["classes"]],
        "ignored": _hex(run.palette[IGNORE]),
        "errorColours": error_colours,
        "kinds": kinds,
        "compared": figures["compared"] > 0,
        "boxes": boxes,
        "phrases": _phrases(run),
        "cards": [card.to_json() for card in cards],
    }
    empty = [e for e in figures["classes"][1:] if not e["images"] and not e["missed"] and e["iou"] is None]
    return environment.get_template("page.html").render(
        title=run.path.resolve().name,
        run=run,
        figures=figures,
        table=[entry for entry in figures["classes"] if entry not in empty],
        empty=empty,
        scored=any(entry["score"] is not None for entry in figures["classes"]),
        missing=any(entry["missed"] for entry in figures["classes"]),
        missing_shown=sum(bool(card.missed) for card in cards),
        boxes=boxes,
        shown=len(cards),
        # Images that the run could not seed, then masks that could not be read here.
        failed=[(record.id, record.error or "") for record in run.failed] + list(failed),
        facts=_facts(run.about),
        colour_of=kinds,
        error_colours=error_colours,
        data=plain(data),
        enlarged=[card.enlarged for card in cards],
        style=(resources.files(__package__) / "page.css").read_text("utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )


def _script() -> str:
    """The parts of the script in one block, so that none of their names is global."""
    folder = resources.files(__package__) / "script"
    return '"use strict";\n{\n' + "\n".join((folder / f"{name}.js").read_text("utf-8") for name in SCRIPTS) + "}\n"


def _hex(colour: tuple[int, int, int]) -> str:
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


def _facts(about: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The contents of ``run.json`` as dotted keys and texts."""
    facts: list[tuple[str, str]] = []
    for key, value in about.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            facts += _facts(value, f"{name}.")
        elif isinstance(value, list):
            facts.append((name, ", ".join(map(str, value))))
        else:
            facts.append((name, "" if value is None else str(value)))
    return facts
