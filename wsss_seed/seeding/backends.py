"""Backends by name, found through the entry-point group ``wsss_seed.backends``.

The backends of this package are registered like third-party ones: an entry point that refers to a function
``build(request: BackendRequest) -> Seeder``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from ..data.classes import ClassSet
from ..errors import WsssError, unknown_name
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
    overrides: Mapping[str, Any] = field(default_factory=dict)


def backends() -> dict[str, EntryPoint]:
    """The installed backends by name."""
    return {e.name: e for e in entry_points(group=GROUP)}


def build_seeder(name: str, request: BackendRequest) -> Seeder:
    """Build the seeder of a backend.

    Raises:
        WsssError: no such backend, or it cannot be imported.
    """
    known = backends()
    if name not in known:
        raise unknown_name("backend", name, known)
    try:
        build = known[name].load()
    except ImportError as error:
        raise WsssError(
            f"backend '{name}' cannot be imported ({error}); install the package that provides it again"
        ) from error
    return build(replace(request, models=request.models.for_backend(name)))
