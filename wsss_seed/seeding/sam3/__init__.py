"""sam3: CLIP proposes the classes, SAM 3 detects and segments what their phrases name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...config import override
from ...errors import UsageError
from ...models.zoo import HUB
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
    from ...models.sam3 import load_sam3

    models = request.models
    settings = override(override(Settings(), models.settings("sam3")), request.settings)
    name = models.names["sam"]
    if not name.startswith(HUB):
        raise UsageError(
            f"backend sam3 needs SAM 3, not SAM '{name}'; give `sam` {HUB}facebook/sam3, or {HUB}FOLDER of a SAM 3 "
            "of transformers"
        )
    sam3 = load_sam3(name.removeprefix(HUB), models.device, models.precision)
    return Sam3Seeder(request.class_set, models.clip, sam3, settings)
