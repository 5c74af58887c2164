"""clip-sams: prompts make CLIP's class activation maps, SAM's mask proposals vote on them (FMA-WSSS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...config import override
from ...models.zoo import home
from ...proposals.generate import Proposals, ProposalSettings, kept_proposals, store_in
from .presets import load_preset, preset_for
from .prompts_source import choose_prompts
from .seeder import ClipSams
from .settings import ClipSamsSettings

if TYPE_CHECKING:
    import numpy as np

    from ...data.classes import ClassSet
    from ...models.zoo import ModelSet
    from ..backends import BackendRequest

__all__ = [
    "ClipSams",
    "ClipSamsSettings",
    "build",
    "override",
    "proposal_settings",
    "proposal_weights",
    "stored_proposals",
]


def build(request: BackendRequest) -> ClipSams:
    """The backend's recipe: the preset's stage, then what was calibrated for the model set, then the user's settings.

    Beside the settings proper, ``prompts`` (``handwritten``, a file or folder of learn-prompts), ``preset`` and
    ``stage`` may be given; without them the bundled prompts and the class set's preset are taken.

    Raises:
        WsssError: no prompts for these classes and this CLIP, unknown setting, value of the wrong type or range, or
            weights that cannot be loaded.
    """
    models, class_set, values = request.models, request.class_set, dict(request.overrides)
    preset = load_preset(values.pop("preset", None) or preset_for(class_set))
    prompts = choose_prompts(values.pop("prompts", None), values.pop("stage", None), models, class_set)
    settings = override(ClipSamsSettings(prompts.stage), preset.stages[prompts.stage])
    settings = override(override(settings, models.settings("clip-sams")), values)
    return ClipSams(
        class_set,
        models.clip,
        stored_proposals(models, settings.proposals),
        prompts.contexts,
        settings,
        {"preset": preset.name, "prompts": prompts.record},
    )


def proposal_settings(
    class_set: ClassSet, models: ModelSet, values: Mapping[str, Any], preset: str | None = None
) -> ProposalSettings:
    """The settings of the mask proposals that clip-sams would make; they do not differ from stage to stage.

    Raises:
        WsssError: no such preset, unknown setting, or a value of the wrong type or range.
    """
    settings = override(ClipSamsSettings(), load_preset(preset or preset_for(class_set)).stages["fine"])
    return override(override(settings, models.settings("clip-sams")), values).proposals


def proposal_weights(models: ModelSet) -> str:
    """What identifies the SAM of a store, and the precision in which it computes."""
    return f"{models.identity('sam')} {models.precision}"


def stored_proposals(models: ModelSet, settings: ProposalSettings) -> Callable[[np.ndarray], Proposals]:
    """Mask proposals of an image, from the common store or made and stored; SAM is loaded for the first that is not
    there."""
    store = store_in(home() / "proposals", proposal_weights(models), settings)

    def of(image: np.ndarray) -> Proposals:
        return kept_proposals(lambda: models.sam, image, settings, store)

    return of
