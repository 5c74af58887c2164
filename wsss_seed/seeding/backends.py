"""Backends by name, discovered through the entry-point group ``wsss_seed.backends``.

Built-in and third-party backends are registered alike: an entry point refers to a function
``build(request: BackendRequest, **options) -> Seeder``. Options that only one backend has, such as the prompts of
clip-sams, are keyword-only arguments of its function. ``wsss-seed settings`` lists the dataclass ``Settings`` of its
module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

from ..config import flatten
from ..data.classes import ClassSet
from ..errors import UsageError, unknown_name
from ..types import Seeder

if TYPE_CHECKING:
    from ..models.zoo import ModelSet

GROUP = "wsss_seed.backends"


@dataclass(frozen=True)
class BackendRequest:
    """The input from which a backend builds its seeder.

    Attributes:
        class_set: the classes to find.
        models: the model set; each model is loaded on first use.
        settings: the user's settings, dotted key -> value; they override those calibrated for the model set.
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
        name: name of the backend.
        request: input that all backends take.
        options: options that only this backend has, e.g. ``{"prompts": "handwritten"}`` for clip-sams.

    Raises:
        WsssError: an unknown backend, one that cannot be imported, or an option it does not have.
    """
    build = _load(name)
    known_options = [p.name for p in signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options or {}:
        if option not in known_options:
            raise UsageError(f"backend '{name}' has no {option}; it is an option of another backend")
    return build(replace(request, models=request.models.for_backend(name)), **(options or {}))


def settings_class(name: str) -> type:
    """The settings of a backend: the dataclass ``Settings`` in the module of its function.

    Raises:
        WsssError: an unknown backend, one that cannot be imported, or one without such a class.
    """
    found = getattr(sys.modules[_load(name).__module__], "Settings", None)
    if not isinstance(found, type):
        raise UsageError(f"backend '{name}' does not describe its settings; see the documentation of its package")
    return found


def changed_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The effective settings of a seeder that differ from the defaults of its backend; None if it does not describe
    them.

    Args:
        name: name of the backend.
        settings: dotted key -> value.
    """
    try:
        defaults = flatten(settings_class(name)())
    except (UsageError, TypeError):  # settings without defaults
        return None
    return {key: value for key, value in settings.items() if key not in defaults or defaults[key] != value}


def _load(name: str) -> Callable[..., Seeder]:
    known = backends()
    if name not in known:
        raise unknown_name("backend", name, known)
    try:
        build: Callable[..., Seeder] = known[name].load()
    except ImportError as error:
        raise UsageError(
            f"backend '{name}' cannot be imported ({error}); reinstall the package that provides it"
        ) from error
    return build
