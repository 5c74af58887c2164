"""clip-sams: CLIP's class activation maps label SAM's mask proposals (FMA-WSSS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...config import override
from ...models.zoo import home
from ...proposals.generate import ProposalSettings, load_or_generate, proposal_store
from ...proposals.store import Proposals
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
    "cached_proposals",
    "proposal_settings",
    "proposal_weights",
]


def build(
    request: BackendRequest, *, prompts: str | None = None, preset: str | None = None, stage: str | None = None
) -> ClipSams:
    """Build the backend with the settings of the preset's stage, overridden by those calibrated for the model set and
    then by the user's.

    Args:
        request: classes, models and settings.
        prompts: ``handwritten``, or a file or folder of learn-prompts; the bundled ones by default.
        preset: name of the recipe; by default that of the class set.
        stage: ``handwritten``, ``coarse`` or ``fine``; by default that of the prompts.

    Raises:
        WsssError: there are no prompts for these classes and this CLIP, a setting is unknown or invalid, or weights
            cannot be loaded.
    """
    models, class_set = request.models, request.class_set
    recipe = load_preset(preset or preset_for(class_set))
    chosen = choose_prompts(prompts, stage, models, class_set)
    settings = override(ClipSamsSettings(), recipe.stages[chosen.stage])
    settings = override(override(settings, models.settings("clip-sams")), request.settings)
    return ClipSams(
        class_set,
        models.clip,
        cached_proposals(models, settings.proposals),
        chosen.contexts,
        settings,
        {"preset": recipe.name, "stage": chosen.stage, "prompts": chosen.record},
    )


def proposal_settings(
    class_set: ClassSet, models: ModelSet, values: Mapping[str, Any], preset: str | None = None
) -> ProposalSettings:
    """Settings of clip-sams' mask proposals, which are the same for all stages.

    Raises:
        WsssError: no such preset, or an unknown or invalid setting.
    """
    settings = override(ClipSamsSettings(), load_preset(preset or preset_for(class_set)).stages["fine"])
    return override(override(settings, models.settings("clip-sams")), values).proposals


def proposal_weights(models: ModelSet) -> str:
    """Identifies the SAM of a proposal store and the precision in which it computes."""
    return f"{models.identity('sam')} {models.precision_of('sam')}"


def cached_proposals(models: ModelSet, settings: ProposalSettings) -> Callable[[np.ndarray], Proposals]:
    """Function from an image to its mask proposals, cached on disk; SAM is loaded at the first image that is not
    cached."""
    store = proposal_store(home() / "proposals", proposal_weights(models), settings)

    def of(image: np.ndarray) -> Proposals:
        return load_or_generate(lambda: models.sam, image, settings, store)

    return of
