"""Settings as nested frozen dataclasses, read and overridden by dotted keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints

from .errors import UsageError, unknown_name

UnitInterval = Annotated[float, (0.0, 1.0)]
"""A score, an IoU, a share or a probability."""
NonNegativeFloat = Annotated[float, (0.0, float("inf"))]
NonNegativeInt = Annotated[int, (0, float("inf"))]
PositiveInt = Annotated[int, (1, float("inf"))]


class _Owned(Protocol):
    OWNER: ClassVar[str]


S = TypeVar("S", bound=_Owned)


def flatten(settings: Any) -> dict[str, Any]:
    """Settings as dotted key -> JSON value (tuples become lists)."""
    flat: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        group = {f"{f.name}.{g.name}": getattr(value, g.name) for g in fields(value)} if is_dataclass(value) else {}
        flat |= group or {f.name: value}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in flat.items()}


def dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables with dotted keys: ``{"detector": {"caption": "joint"}}`` as ``{"detector.caption": "joint"}``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= dotted(value, name + ".") if isinstance(value, Mapping) else {name: value}
    return flat


def override(settings: S, values: Mapping[str, Any]) -> S:
    """Settings with some values replaced.

    Args:
        settings: a dataclass whose fields are values or groups of values (dataclasses themselves). Its class attribute
            ``OWNER`` is the name of the backend or command, for error messages.
        values: dotted key -> value, e.g. ``{"detector.box_threshold": 0.4}``; see ``full_key``.

    Raises:
        WsssError: an unknown or ambiguous key (the closest known key is suggested), or a value of the wrong type or
            range.
    """
    known = flatten(settings)
    changed: dict[str, dict[str, Any]] = {"": {}}
    for given, value in values.items():
        key = full_key(given, known)
        if key not in known:
            error = unknown_name(f"setting of {settings.OWNER}", key, known)
            raise UsageError(f"{error} (wsss-seed settings lists all)")
        group, _, name = key.rpartition(".")
        owner: Any = getattr(settings, group) if group else settings
        changed.setdefault(group, {})[name] = _checked(key, value, _hints(owner.__class__)[name])
    own, target = changed.pop(""), cast("Any", settings)
    groups = {group: replace(getattr(target, group), **new) for group, new in changed.items()}
    result: S = replace(target, **groups, **own)
    return result


def full_key(key: str, known: Iterable[str]) -> str:
    """The key of the only setting whose last part is this name, as ``box_threshold`` is of ``detector.box_threshold``;
    the key itself if it is known, or if there is no such setting. Raises UsageError if there are several."""
    matches = {other for other in known if other == key or other.rpartition(".")[2] == key}
    if key in matches or not matches:
        return key
    if len(matches) > 1:
        raise UsageError(f"setting {key}: ambiguous, write out one of {', '.join(sorted(matches))}")
    return matches.pop()


@cache
def _hints(cls: Any) -> Mapping[str, Any]:
    """The types of the fields of a class of settings, with their ranges."""
    return get_type_hints(cls, include_extras=True)


def _checked(key: str, value: Any, hint: Any) -> Any:
    """The value converted to the type of its field. Raises WsssError if it does not fit."""
    if get_origin(hint) is Annotated:
        kind, (low, high) = get_args(hint)
        right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            noun = "a whole number" if kind is int else "a number"
            limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
            raise UsageError(f"setting {key} = {value!r}: expected {noun} {limits}")
        return kind(value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown_name(f"value of {key}", str(value), get_args(hint))
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"setting {key} = {value!r}: expected a list")
        return tuple(_checked(key, v, get_args(hint)[0]) for v in value)
    if not isinstance(value, hint):
        noun = {bool: "true or false", str: "text"}[hint]
        raise UsageError(f"setting {key} = {value!r}: expected {noun}")
    return value


@dataclass(frozen=True)
class Setting:
    """Description of a setting: dotted key, default, possible values and meaning."""

    key: str
    default: Any
    values: str
    meaning: str


def describe(settings: Any) -> list[Setting]:
    """Every setting of a settings object, in order. The meanings come from ``Attributes`` in the docstrings."""
    found = []
    for f in fields(settings):
        value = getattr(settings, f.name)
        for name, owner in [(g.name, value) for g in fields(value)] if is_dataclass(value) else [(f.name, settings)]:
            key = f"{f.name}.{name}" if owner is value else name
            default = getattr(owner, name)
            found.append(
                Setting(
                    key,
                    list(default) if isinstance(default, tuple) else default,
                    _values(get_type_hints(type(owner), include_extras=True)[name]),
                    _meaning(type(owner), name),
                )
            )
    return found


def _values(hint: Any) -> str:
    """The possible values of a type, in words."""
    if get_origin(hint) is Annotated:
        kind, (low, high) = get_args(hint)
        noun = "whole number" if kind is int else "number"
        return f"{noun} {low:g} to {high:g}" if high < float("inf") else f"{noun} from {low:g}"
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"list of {_values(get_args(hint)[0])}"
    return {bool: "true or false", str: "text"}[hint]


def _meaning(owner: type, name: str) -> str:
    """The entry of a field in the ``Attributes`` of its class, or of the nearest base that has it, on one line."""
    for cls in owner.__mro__:
        match = re.search(rf"^        {name}: (.*?)(?=^        \w|\Z)", cls.__doc__ or "", re.MULTILINE | re.DOTALL)
        if match:
            return " ".join(match[1].replace("``", "").split())
    raise LookupError(f"{owner.__name__}.{name} is not documented")
