"""``wsss-seed settings``: list the settings of backends and commands."""

from __future__ import annotations

import json as json_
from importlib import import_module
from textwrap import wrap
from typing import Annotated

import typer

from ..errors import unknown_name
from . import options, show

SETTINGS = {
    "dino-sam": ("seeding.dino_sam.settings", "Settings"),
    "clip-sams": ("seeding.clip_sams.settings", "ClipSamsSettings"),
    "sam3": ("seeding.sam3.settings", "Settings"),
    "learn-prompts": ("seeding.clip_sams.learn.settings", "LearnSettings"),
    "train-seg": ("segmenter.settings", "SegmenterSettings"),
    "self-training": ("segmenter.agreement", "AgreementSettings"),
    "predict": ("segmenter.predict", "PredictSettings"),
}
"""Name -> module and class; only the requested ones are imported."""


def settings(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Backend or command: dino-sam, clip-sams, sam3, learn-prompts, train-seg, self-training or predict. "
            "Default: all of them.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """List the settings of --set and [settings]: default, possible values and meaning.

    Presets, recipes and model sets override some defaults; run.json records the values of a run.
    """
    from ..config import describe

    found = {owner: describe(_class(owner)()) for owner in ([name] if name else SETTINGS)}
    if json:
        show.as_json({owner: [vars(s) for s in entries] for owner, entries in found.items()})
        return
    for place, (owner, entries) in enumerate(found.items()):
        show.result(f"{chr(10) * (place > 0)}{owner}")
        for s in entries:
            show.result(f"  {s.key} = {json_.dumps(s.default, ensure_ascii=False)}    ({s.values})")
            for line in wrap(s.meaning, 92):
                show.result(f"      {line}")


def _class(name: str) -> type:
    """The settings of a backend or command; also of a backend that another package provides."""
    if name in SETTINGS:
        module, cls = SETTINGS[name]
        found: type = getattr(import_module(f"wsss_seed.{module}"), cls)
        return found
    from ..seeding.backends import backends, settings_class

    if name not in backends():
        raise unknown_name("backend or command", name, {**SETTINGS, **backends()})
    return settings_class(name)
