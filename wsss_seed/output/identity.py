"""The identity of a run: everything that determines its outcome, for seeding, prediction, learning and training.

A run folder or checkpoint with another identity is refused, and the difference is shown. Inputs are therefore
identified by content: a class set by its names and phrases rather than its file, weights by their digest rather than
their path, labels by the classes they name. Anything that does not influence the outcome is left out.

Image-level labels belong to the record of each image (``output.run_folder``) and not to the identity of the run: new
images with their labels may be added to a run, but changed labels of a finished image are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.base import Dataset, Sample
from ..data.classes import ClassSet, voc_palette

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
        models: the frozen models, if any.
        roles: the roles of the models that are used.
        class_keys: parts of the class set that determine the outcome; by default all of it.
        labels: digest of the image-level labels, where the outcome as a whole depends on them. By default only whether
            there are labels is recorded, because the record of each image has its own.
        more: anything else that determines the outcome.
    """
    world = {"seed": data.seed, "difficulty": data.difficulty} if data.drawn else {}
    return {
        "dataset": {"name": data.name, "split": data.split, **world},
        "labels": labels or ("none" if data.labels_source is None else "given"),
        "class_set": class_set_content(data.class_set, class_keys),
        "backend": dict(backend),
        "models": {} if models is None else {r: models.identity(r) for r in roles if r in models.names},
        "precision": None if models is None else models.precision,
        **more,
    }


PROMPTING = ("names", "prompts", "background")
"""The parts of a class set that determine learned prompts."""


def class_set_content(class_set: ClassSet, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """The content of a class set as JSON values, without its name (its file name), optionally reduced to ``keys``."""
    by_name = dict(zip(class_set.names, zip(class_set.phrases, class_set.prompts, strict=True), strict=True))
    palette = class_set.palette[: len(class_set.names) + 1]
    content: dict[str, Any] = {
        "names": list(class_set.names),
        "phrases": {name: list(phrases) for name, (phrases, _) in by_name.items()},
        "prompts": {name: prompt for name, (_, prompt) in by_name.items()},
        "background": list(class_set.background),
        "parts": {name: list(phrases) for name, phrases in class_set.part_phrases.items()},
        "thresholds": {key: dict(values) for key, values in class_set.thresholds.items()},
        "distractors": list(class_set.distractors),
        "negatives": list(class_set.negatives),
        "assume_present": class_set.assume_present,
        "max_candidates": class_set.max_candidates,
        "palette": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette],
    }
    return content if keys is None else {key: content[key] for key in keys}


def class_set_from_content(content: Mapping[str, Any], name: str) -> ClassSet:
    """The class set of a content; further colours are VOC's.

    Raises:
        KeyError, TypeError, ValueError: not the content of a class set.
    """
    names = tuple(content["names"])
    palette = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in content["palette"]]
    return ClassSet(
        name=name,
        names=names,
        phrases=tuple(tuple(content["phrases"][n]) for n in names),
        prompts=tuple(content["prompts"][n] for n in names),
        background=tuple(content["background"]),
        palette=(*palette, *voc_palette()[len(palette) :]),
        part_phrases={n: tuple(phrases) for n, phrases in content["parts"].items()},
        thresholds={key: dict(values) for key, values in content["thresholds"].items()},
        max_candidates=int(content["max_candidates"]),
        distractors=tuple(content["distractors"]),
        negatives=tuple(content["negatives"]),
        assume_present=bool(content["assume_present"]),
    )


def labels_digest(samples: Iterable[Sample]) -> str:
    """Shortened SHA-256 of ids and image-level labels, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.id}\0{sample.labels}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def files_digest(paths: Iterable[Path]) -> str:
    """Shortened SHA-256 of the contents of files, in order; unreadable files count as empty."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:  # reported when it is read as a label map
            digest.update(b"\0")
    return digest.hexdigest()[:16]
