"""Presets of clip-sams: settings of each stage and of prompt learning, one TOML file per preset."""

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
        title: one-line description.
        models: role (``clip``, ``sam``) -> name of the model it was made for.
        stages: ``handwritten``, ``coarse``, ``fine`` -> dotted setting key -> value.
        learn: task (``cls``, ``seg``) -> dotted setting key of prompt learning -> value.
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
    """Default preset of a class set: its own if it has one, else VOC's, whose photographs are the closest."""
    return {"toyland": "toyland", "coco": "fma-coco"}.get(class_set.name, "fma-voc")
