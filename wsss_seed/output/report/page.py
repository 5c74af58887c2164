"""The HTML page: a template, a style sheet and a script in a single file.

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
from ...io.files import plain
from ..finished import FinishedRun
from .card import ERROR_COLOURS, UNCOUNTED, UNDECIDED, WRONG, Card


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
    script = (resources.files(__package__) / "page.js").read_text("utf-8")
    data = {
        "names": run.names,
        "colours": [entry["colour"] for entry in figures["classes"]],
        "compared": figures["compared"] > 0,
        "cards": [card.to_json() for card in cards],
    }
    return environment.get_template("page.html").render(
        title=run.path.resolve().name,
        run=run,
        figures=figures,
        shown=len(cards),
        # Images that the run could not seed, then masks that could not be read here.
        failed=[(record.id, record.error or "") for record in run.failed] + list(failed),
        facts=_facts(run.about),
        colour_of={"wrong": WRONG, "undecided": UNDECIDED, "uncounted": UNCOUNTED},
        error_colours=["#{:02x}{:02x}{:02x}".format(*colour) for colour in ERROR_COLOURS],
        data=plain(data),
        style=(resources.files(__package__) / "page.css").read_text("utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )


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
