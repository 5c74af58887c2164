"""Selection of the prompts of a run and of the recipe stage that goes with them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError, unknown_name
from .prompts import Contexts, SamRecord, load_contexts, read_contexts
from .settings import STAGES, Stage

if TYPE_CHECKING:
    from ...data.classes import ClassSet
    from ...models.zoo import ModelSet

HANDWRITTEN: Stage = "handwritten"
TASK_OF: dict[str, str] = {"coarse": "cls", "fine": "seg"}
STAGE_OF: dict[str, Stage] = {"cls": "coarse", "seg": "fine"}


@dataclass(frozen=True)
class ChosenPrompts:
    """The prompts of a run.

    Attributes:
        stage: recipe stage that goes with them.
        contexts: learned contexts; None for hand-written sentences.
        record: entry in run.json: ``handwritten``, or task and hash of the contexts.
    """

    stage: Stage
    contexts: Contexts | None
    record: str


def choose_prompts(source: Any, stage: Any, models: ModelSet, class_set: ClassSet) -> ChosenPrompts:
    """Select the prompts of a run.

    Args:
        source: ``handwritten``, a file of prompts, a folder of learn-prompts, or None for the bundled prompts.
        stage: the requested stage; None for that of the prompts (for a folder, fine if it has been learned).
        models: the model set, for its CLIP and its bundled prompts.
        class_set: the classes.

    Raises:
        WsssError: there are no such prompts, or they are for another CLIP or class set.
    """
    if stage is not None and stage not in STAGES:
        raise unknown_name("value of stage", str(stage), STAGES)
    if source == HANDWRITTEN or (source is None and stage == HANDWRITTEN):
        return ChosenPrompts(stage or HANDWRITTEN, None, HANDWRITTEN)
    path = _bundled(stage, models, class_set) if source is None else _file(Path(str(source)), stage)
    about = read_contexts(path)[1]
    contexts = load_contexts(path, clip=models.clip, class_set=class_set)
    task = str(about["settings"].get("task", "seg"))
    # Hash of the contents: safetensors writes its metadata in an order that varies.
    digest = hashlib.sha256(json.dumps([contexts.names, contexts.position, contexts.sets]).encode())
    digest.update(contexts.vectors.cpu().contiguous().numpy().tobytes())
    return ChosenPrompts(stage or STAGE_OF.get(task, "fine"), contexts, f"{task} {digest.hexdigest()[:16]}")


def learned_sam(source: str | None, stage: str | None) -> SamRecord | None:
    """The SAM of the seeds from which the given prompts were learned.

    Args:
        source, stage: as for ``choose_prompts``.

    Returns:
        None for hand-written and bundled prompts, and for prompts learned from image-level labels.

    Raises:
        WsssError: there are no such prompts.
    """
    if source is None or source == HANDWRITTEN:
        return None
    sam = read_contexts(_file(Path(source), stage))[1].get("sam")
    return None if sam is None else SamRecord(sam["name"], sam["identity"])


def sam_warning(source: str | None, stage: str | None, models: ModelSet) -> str | None:
    """The warning for prompts that were learned from seeds of another SAM than the model set's; None if they were not.

    Raises:
        WsssError: there are no such prompts.
    """
    learned = learned_sam(source, stage)
    if learned is None or learned.identity == models.identity("sam"):
        return None
    return (
        f"the prompts were learned from seeds of SAM '{learned.name}', which is not '{models.names['sam']}': the masks "
        f"may be worse; give `sam` {learned.name}, or learn prompts with this one"
    )


def _bundled(stage: str | None, models: ModelSet, class_set: ClassSet) -> Path:
    path = models.prompts(class_set.name, TASK_OF.get(stage or "fine", "seg"))
    if path is None:
        raise CheckpointError(
            f"no learned prompts for class set '{class_set.name}' and CLIP {models.names['clip']}: learn them with "
            "wsss-seed learn-prompts and give `prompts` a file, or take `prompts` handwritten"
        )
    return path


def _file(path: Path, stage: str | None) -> Path:
    if not path.is_dir():
        if not path.exists():
            raise CheckpointError(
                f"{path}: no such file of prompts; learn them with wsss-seed learn-prompts, or take `prompts` "
                "handwritten"
            )
        return path
    wanted = [TASK_OF[stage]] if stage in TASK_OF else ["seg", "cls"]
    for task in wanted:
        if (path / f"{task}.safetensors").is_file():
            return path / f"{task}.safetensors"
    raise CheckpointError(
        f"{path}: no {' or '.join(t + '.safetensors' for t in wanted)} in this folder; finish wsss-seed learn-prompts "
        f"`out` {path} first"
    )
