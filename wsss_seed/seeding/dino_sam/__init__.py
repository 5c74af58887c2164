"""dino-sam: CLIP proposes the classes, Grounding DINO finds their boxes, SAM segments them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...config import override
from .seeder import DinoSam
from .settings import Settings

if TYPE_CHECKING:
    from ..backends import BackendRequest

__all__ = ["DinoSam", "Settings", "build"]


def build(request: BackendRequest) -> DinoSam:
    """The backend's recipe: defaults, then what was calibrated for the model set, then the user's settings.

    Raises:
        WsssError: unknown setting, value of the wrong type or range, or weights that cannot be loaded.
    """
    models = request.models
    settings = override(override(Settings(), models.settings("dino-sam")), request.settings)
    return DinoSam(request.class_set, models.clip, models.sam, models.detector, settings)
