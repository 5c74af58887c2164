"""Facts about models that open_clip and transformers download themselves: licence, training data, architecture."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class LibraryModel:
    """A model of a library; see libraries.toml for the fields."""

    name: str
    licence: str = "unknown"
    data: str = "unknown"
    seen: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@cache
def library_models() -> Mapping[str, LibraryModel]:
    """The known models of libraries by name."""
    entries = tomllib.loads((files(__package__) / "libraries.toml").read_text("utf-8"))
    return {
        name: LibraryModel(name, **{**entry, "seen": tuple(entry.get("seen", ()))}) for name, entry in entries.items()
    }
