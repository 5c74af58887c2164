"""dino-sam: CLIP proposes the classes, Grounding DINO finds their boxes, SAM segments them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...config import override
from ...errors import unknown_name
from ..detection.per_class import split_thresholds, with_thresholds
from .seeder import DinoSam
from .settings import PRESETS, Settings

if TYPE_CHECKING:
    from ..backends import BackendRequest

__all__ = ["PRESETS", "DinoSam", "Settings", "build"]


def build(request: BackendRequest, *, preset: str | None = None) -> DinoSam:
    """The backend's recipe: defaults, then what was calibrated for the model set, then the preset, then the user's
    settings.

    Args:
        request: classes, models and settings.
        preset: ``plain``, the baseline without CLIP; see ``PRESETS``. Thresholds of the class set do not apply then.

    Raises:
        WsssError: unknown preset or setting, value of the wrong type or range, or weights that cannot be loaded.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset of dino-sam", preset, PRESETS)
    models = request.models
    common, own = split_thresholds(request.settings)
    settings = override(Settings(), {**models.settings("dino-sam"), **PRESETS.get(preset or "", {})})
    settings = override(settings, common)
    given = request.class_set if preset is None else replace(request.class_set, thresholds={})  # a preset sets them all
    class_set = with_thresholds(given, settings, own)
    return DinoSam(class_set, models.clip, models.sam, models.detector, settings)
