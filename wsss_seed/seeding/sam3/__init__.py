"""sam3: CLIP names the classes, SAM 3 finds and cuts out what their phrases say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...config import override
from ...errors import WsssError
from ...models.zoo import HUB
from .seeder import SamText
from .settings import Settings

if TYPE_CHECKING:
    from ..backends import BackendRequest

__all__ = ["SamText", "Settings", "build", "override"]


def build(request: BackendRequest) -> SamText:
    """The backend's recipe: defaults, then what was calibrated for the model set, then the user's settings.

    Raises:
        WsssError: unknown setting, value of the wrong type or range, or a SAM that is no SAM 3 or cannot be loaded.
    """
    from ...models.sam3 import load_sam3

    models = request.models
    settings = override(override(Settings(), models.settings("sam3")), request.overrides)
    name = models.names["sam"]
    if not name.startswith(HUB):
        raise WsssError(
            f"backend sam3 needs SAM 3, not SAM '{name}'; give --sam {HUB}facebook/sam3, or {HUB}FOLDER of a SAM 3 "
            "of transformers"
        )
    sam3 = load_sam3(name.removeprefix(HUB), models.device, models.precision)
    return SamText(request.class_set, models.clip, sam3, settings)
