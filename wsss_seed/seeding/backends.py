"""Backends by name, found through the entry-point group ``wsss_seed.backends``.

The backends of this package are registered like third-party ones: an entry point that refers to a function
``build(request: BackendRequest) -> Seeder``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

from ..data.classes import ClassSet
from ..errors import UsageError, unknown_name
from ..types import Seeder

if TYPE_CHECKING:
    from ..models.zoo import ModelSet

GROUP = "wsss_seed.backends"


@dataclass(frozen=True)
class BackendRequest:
    """Everything a backend needs to build its seeder.

    Attributes:
        class_set: the classes to find.
        models: the model set; each model is loaded at first use.
        overrides: the user's settings, dotted key -> value; they take precedence over the model set's calibrated ones.
    """

    class_set: ClassSet
    models: ModelSet
    settings: Mapping[str, Any] = field(default_factory=dict)


def backends() -> dict[str, EntryPoint]:
    """The installed backends by name."""
    return {e.name: e for e in entry_points(group=GROUP)}


def build_seeder(name: str, request: BackendRequest, options: Mapping[str, str] | None = None) -> Seeder:
    """Build the seeder of a backend.

    Args:
        name: of the backend.
        request: what every backend is given.
        options: of this backend alone, e.g. ``{"prompts": "handwritten"}`` for clip-sams.

    Raises:
        WsssError: no such backend, it cannot be imported, or it has no such option.
    """
    known = backends()
    if name not in known:
        raise unknown_name("backend", name, known)
    try:
        build = known[name].load()
    except ImportError as error:
        raise UsageError(
            f"backend '{name}' cannot be imported ({error}); install the package that provides it again"
        ) from error
    known_options = [p.name for p in signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options or {}:
        if option not in known_options:
            raise UsageError(f"backend '{name}' has no {option}; it is an option of another backend")
    seeder: Seeder = build(replace(request, models=request.models.for_backend(name)), **(options or {}))
    return seeder
