"""Thresholds of single classes among the settings: ``detector.box_threshold.cat = 0.25``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...config import override
from ...data.classes import ClassSet
from ...errors import unknown_name
from .settings import DetectionSettings


def split_thresholds(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings for all classes, and those for single classes, ``GROUP.NAME.CLASS``."""
    common = {key: value for key, value in values.items() if key.count(".") < 2}
    return common, {key: value for key, value in values.items() if key not in common}


def with_thresholds(class_set: ClassSet, settings: DetectionSettings, values: Mapping[str, Any]) -> ClassSet:
    """The class set with thresholds of single classes from the settings, which replace its own.

    Args:
        class_set: the classes.
        settings: the settings of the backend.
        values: ``GROUP.NAME.CLASS`` -> value.

    Raises:
        UsageError: an unknown class, a setting that cannot differ between classes, or a value out of range.
    """
    thresholds = {key: dict(own) for key, own in class_set.thresholds.items()}
    for key, value in values.items():
        group, setting, name = key.split(".", 2)
        if f"{group}.{setting}" not in settings.per_class_keys():
            raise unknown_name("setting that classes can have of their own", key, settings.per_class_keys())
        if name not in class_set.names:
            raise unknown_name(f"class in setting {key}:", name, class_set.names)
        override(settings, {f"{group}.{setting}": value})
        thresholds.setdefault(f"{group}.{setting}", {})[name] = float(value)
    return replace(class_set, thresholds=thresholds)


def thresholds_of(class_set: ClassSet, settings: DetectionSettings) -> dict[str, float]:
    """The thresholds of single classes of a class set that this backend has, as settings."""
    own = ((key, class_set.thresholds.get(key, {})) for key in settings.per_class_keys())
    return {f"{key}.{name}": value for key, values in own for name, value in values.items()}
