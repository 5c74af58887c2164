"""What determines the outcome of a run, declared once for seeding, predicting, learning and training.

A run folder or a checkpoint that has another identity is refused, with the difference shown. So everything counts by
content: a class set by its names and phrases rather than by its file, weights by their digest rather than by their
path, labels by the classes they name. What has no influence on the outcome is not part of it.

Image-level labels are part of each image's record (``output.run_folder``) rather than of the run's identity: new images
with their labels may join a run, while an image whose labels changed since its mask was made is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.base import Dataset, Sample
from ..data.classes import ClassSet

if TYPE_CHECKING:
    from ..models.zoo import ModelSet


def identity(
    data: Dataset,
    backend: Mapping[str, Any],
    models: ModelSet | None = None,
    roles: Iterable[str] = ("clip", "sam", "detector"),
    *,
    class_keys: Iterable[str] | None = None,
    labels: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The identity of a run folder or of a training, as JSON values.

    Args:
        data: the images.
        backend: name and effective settings of what produces the masks, prompts or weights.
        models: the frozen models in use, if any.
        roles: which of them.
        class_keys: what of the class set matters; all of it by default.
        labels: digest of the image-level labels where they determine the outcome as a whole. By default only whether
            there are any, since the record of each image has its own.
        more: what else determines the outcome.
    """
    world = {"seed": data.seed} if data.drawn else {}
    return {
        "dataset": {"name": data.name, "split": data.split, **world},
        "labels": labels or ("none" if data.labels_source is None else "given"),
        "class_set": class_set_content(data.class_set, class_keys),
        "backend": dict(backend),
        "models": {} if models is None else {role: models.identity(role) for role in roles},
        "precision": None if models is None else models.precision,
        **more,
    }


PROMPTING = ("names", "prompts", "background")
"""What of a class set determines learned prompts."""


def class_set_content(class_set: ClassSet, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """All of a class set but its name, which is that of its file; or those of its ``keys``."""
    by_name = dict(zip(class_set.names, zip(class_set.phrases, class_set.prompts, strict=True), strict=True))
    palette = class_set.palette[: len(class_set.names) + 1]
    content: dict[str, Any] = {
        "names": list(class_set.names),
        "phrases": {name: list(phrases) for name, (phrases, _) in by_name.items()},
        "prompts": {name: prompt for name, (_, prompt) in by_name.items()},
        "background": list(class_set.background),
        "parts": {name: list(phrases) for name, phrases in class_set.part_phrases.items()},
        "thresholds": {key: dict(values) for key, values in class_set.thresholds.items()},
        "max_candidates": class_set.max_candidates,
        "palette": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette],
    }
    return content if keys is None else {key: content[key] for key in keys}


def labels_digest(samples: Iterable[Sample]) -> str:
    """SHA-256, shortened, of ids and image-level labels in their order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.id}\0{sample.labels}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256, shortened, of the content of files in their order; a file that cannot be read counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:  # reading it as a label map will say what is wrong
            digest.update(b"\0")
    return digest.hexdigest()[:16]
