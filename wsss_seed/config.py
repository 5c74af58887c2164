"""Settings of a backend: frozen dataclasses in groups, read and changed by dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from .errors import WsssError, unknown_name

UnitInterval = Annotated[float, (0.0, 1.0)]
"""A score, an IoU or a part of something."""
NonNegativeFloat = Annotated[float, (0.0, float("inf"))]
NonNegativeInt = Annotated[int, (0, float("inf"))]
PositiveInt = Annotated[int, (1, float("inf"))]


class _Owned(Protocol):
    OWNER: ClassVar[str]


S = TypeVar("S", bound=_Owned)


def flatten(settings: Any) -> dict[str, Any]:
    """The settings as dotted keys and plain JSON values (tuples become lists)."""
    flat: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        group = {f"{f.name}.{g.name}": getattr(value, g.name) for g in fields(value)} if is_dataclass(value) else {}
        flat |= group or {f.name: value}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in flat.items()}


def override(settings: S, values: Mapping[str, Any]) -> S:
    """Settings with some values replaced.

    Args:
        settings: what to start from: a dataclass whose fields are values or groups of values (dataclasses too), with
            the name under which the user knows it as its class attribute ``OWNER``.
        values: dotted key to value, e.g. ``{"detector.box_threshold": 0.4}``.

    Raises:
        WsssError: unknown key (the nearest known one is named), or a value of the wrong type or range.
    """
    known = flatten(settings)
    changed: Any = settings
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"setting of {settings.OWNER}", key, known)
        group_name, _, name = key.rpartition(".")
        group: Any = getattr(changed, group_name) if group_name else changed
        hint = get_type_hints(type(group), include_extras=True)[name]
        new: Any = replace(group, **{name: _checked(key, value, hint)})
        changed = replace(changed, **{group_name: new}) if group_name else new
    return changed


def _checked(key: str, value: Any, hint: Any) -> Any:
    """The value in the type of its field, or WsssError."""
    if get_origin(hint) is Annotated:
        kind, (low, high) = get_args(hint)
        right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            noun = "a whole number" if kind is int else "a number"
            limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
            raise WsssError(f"setting {key} = {value!r}: expected {noun} {limits}")
        return kind(value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown_name(f"value of {key}", str(value), get_args(hint))
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise WsssError(f"setting {key} = {value!r}: expected a list")
        return tuple(_checked(key, v, get_args(hint)[0]) for v in value)
    if not isinstance(value, hint):
        noun = {bool: "true or false", str: "text"}[hint]
        raise WsssError(f"setting {key} = {value!r}: expected {noun}")
    return value
