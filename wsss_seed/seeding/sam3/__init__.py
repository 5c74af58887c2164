"""sam3: CLIP proposes the classes, SAM 3 detects and segments what their phrases name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...config import override
from ..detection.per_class import split_thresholds, with_thresholds
from .seeder import Sam3Seeder
from .settings import Settings

if TYPE_CHECKING:
    from ..backends import BackendRequest

__all__ = ["Sam3Seeder", "Settings", "build", "override"]


def build(request: BackendRequest) -> Sam3Seeder:
    """The backend's recipe: defaults, then what was calibrated for the model set, then the user's settings.

    Raises:
        WsssError: unknown setting, value of the wrong type or range, or a SAM that is no SAM 3 or cannot be loaded.
    """
    models = request.models
    common, own = split_thresholds(request.settings)
    settings = override(override(Settings(), models.settings("sam3")), common)
    class_set = with_thresholds(request.class_set, settings, own)
    sam3 = models.sam3  # first, because it may be the wrong one
    return Sam3Seeder(class_set, models.clip, sam3, settings)
