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
from .settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from ...data.classes import ClassSet
    from ...models.zoo import ModelSet
    from ..backends import BackendRequest

__all__ = ["ClipSams", "Settings", "build", "override", "proposal_settings", "proposal_weights", "stored_proposals"]


def build(
    request: BackendRequest, *, prompts: str | None = None, preset: str | None = None, stage: str | None = None
) -> ClipSams:
    """The backend's recipe: the preset's stage, then what was calibrated for the model set, then the user's settings.

    Args:
        request: classes, models and settings.
        prompts: ``handwritten``, or a file or folder of learn-prompts; the bundled ones by default.
        preset: name of the recipe; the class set's by default.
        stage: ``handwritten``, ``coarse`` or ``fine``; the prompts' own by default.

    Raises:
        WsssError: no prompts for these classes and this CLIP, unknown setting, value of the wrong type or range, or
            weights that cannot be loaded.
    """
    models, class_set = request.models, request.class_set
    recipe = load_preset(preset or preset_for(class_set))
    chosen = choose_prompts(prompts, stage, models, class_set)
    settings = override(Settings(), recipe.stages[chosen.stage])
    settings = override(override(settings, models.settings("clip-sams")), request.settings)
    return ClipSams(
        class_set,
        models.clip,
        stored_proposals(models, settings.proposals),
        chosen.contexts,
        settings,
        {"preset": recipe.name, "stage": chosen.stage, "prompts": chosen.record},
    )


def proposal_settings(
    class_set: ClassSet, models: ModelSet, values: Mapping[str, Any], preset: str | None = None
) -> ProposalSettings:
    """The settings of the mask proposals that clip-sams would make; they do not differ from stage to stage.

    Raises:
        WsssError: no such preset, unknown setting, or a value of the wrong type or range.
    """
    settings = override(Settings(), load_preset(preset or preset_for(class_set)).stages["fine"])
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
