"""Recipes as data: the settings of each stage and of learning, in one TOML file a preset."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....data.classes import ClassSet
from ....errors import unknown_name

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """A recipe of clip-sams.

    Attributes:
        name: ``fma-voc``, ``fma-coco`` or ``toyland``.
        title: one line for the user.
        models: role (``clip``, ``sam``) -> name of the model it is meant for.
        stages: ``handwritten``, ``coarse``, ``fine`` -> dotted setting key -> value.
        learn: task (``cls``, ``seg``) -> dotted setting key of learning -> value.
    """

    name: str
    title: str
    models: Mapping[str, str]
    stages: Mapping[str, Mapping[str, Any]]
    learn: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def presets() -> tuple[str, ...]:
    """The names of the presets."""
    return tuple(sorted(p.stem for p in _HERE.glob("*.toml")))


def load_preset(name: str) -> Preset:
    """Read a preset.

    Raises:
        WsssError: no such preset.
    """
    if name not in presets():
        raise unknown_name("preset", name, presets())
    return Preset(name, **tomllib.loads((_HERE / f"{name}.toml").read_text("utf-8")))


def preset_for(class_set: ClassSet) -> str:
    """The preset of a class set: its own where it has one, else that of VOC, whose photographs are the nearest."""
    return {"toyland": "toyland", "coco": "fma-coco"}.get(class_set.name, "fma-voc")
