"""Models with random weights, in the architecture of published ones.

The time that a model takes does not depend on the values of its weights, so it can be measured before they are
downloaded. Tokenizers are built from vocabularies at hand; texts have about as many tokens as with the published ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import copy
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from . import cpu_precision
from .clip import _without_log
from .compiling import compile_encoder
from .libraries import library_models
from .precision import SAM_BF16
from .zoo import TINY, ModelSet, find_weights

_CONFIGS = Path(str(files(__package__))) / "configs"


def is_known(role: str, name: str) -> bool:
    """Whether the architecture of a model is known without its files: that of a known checkpoint, of open_clip's
    models, and of the models of transformers that model sets name."""
    weights = find_weights(role, name)
    if weights.state == "hub":
        return name in library_models() and bool(library_models()[name].config)
    return weights.checkpoint is not None or weights.state == "library"


def untrained(role: str, name: str, device: str, precision: str) -> Any:
    """A model with random weights.

    Args:
        role: ``clip``, ``sam`` or ``detector``.
        name: a model whose architecture ``is_known``.
        device: device of the model.
        precision: ``fp32``, ``bf16`` or ``fp16``.

    Returns:
        The ``Clip``, ``MaskModel`` or ``Detector``; for SAM 3 a ``Sam3``.
    """
    weights = find_weights(role, name)
    if weights.state == "hub":
        return _of_transformers(name, device, precision)
    config = weights.checkpoint.config if weights.checkpoint else weights.spec.partition(":")[0]
    return {"clip": _clip, "sam": _sam, "detector": _grounding_dino}[role](config, name, device, precision)


def needs_random(models: ModelSet, role: str) -> bool:
    """Whether a model of a set has not been downloaded, but its architecture is known."""
    return not models.downloaded(role) and is_known(role, models.names[role])


def without_download(models: ModelSet) -> ModelSet:
    """The same set, whose precision is chosen without downloading SAM: where ``auto`` would compare its masks, they
    count as equal."""
    if not needs_random(models, "sam"):
        return models
    faster = models.device == "cpu" and models.backend != "sam3" and cpu_precision.faster()
    return models.resuming(SAM_BF16 if faster else "fp32")


def with_random_weights(models: ModelSet, roles: Iterable[str]) -> tuple[ModelSet, dict[str, Any]]:
    """A model set with random weights where its own have not been downloaded; they are the same every time.

    Args:
        models: the set, for its backend.
        roles: the models that are needed.

    Returns:
        A set that downloads nothing for models whose architecture is known, and its models with random weights by role.
    """
    import torch

    own = copy(models)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = {
            role: untrained(role, models.names[role], models.device, models.precision_of(role))
            for role in roles
            if needs_random(models, role)
        }
    if models.compile and "sam" in random:
        compile_encoder(random["sam"])
    own.__dict__ |= {**random, "for_backend": lambda _: own}
    return own, random


def _clip(config: str, name: str, device: str, precision: str) -> Any:
    import open_clip

    from .clip import Clip

    with _without_log():
        model = open_clip.create_model(config)
    return Clip(model, open_clip.SimpleTokenizer(context_length=model.context_length), name, device, precision)


def _sam(config: str, name: str, device: str, precision: str) -> Any:
    from segment_anything import sam_model_registry

    from .sam import Sam

    return Sam(sam_model_registry[config](checkpoint=None), name, device, precision)


def _grounding_dino(config: str, name: str, device: str, precision: str) -> Any:
    from .grounding_dino import GroundingDino, Resize, build_grounding_dino

    values = json.loads((_CONFIGS / f"{config}.json").read_text("utf-8"))
    return GroundingDino(
        build_grounding_dino(values, _bert_tokenizer()), Resize(**values["resize"]), name, device, precision
    )


def _of_transformers(name: str, device: str, precision: str) -> Any:
    import transformers

    from . import hf_detector, hf_masks
    from .hf_detector import HfDetector
    from .hf_masks import HfMasks
    from .sam3 import Sam3

    values = dict(library_models()[name].config)
    kind = values.pop("model_type")
    config: Any = transformers.AutoConfig.for_model(kind, **values)
    if kind == "sam3":
        model = transformers.Sam3Model(config)
        processor = transformers.Sam3Processor(transformers.Sam3ImageProcessor(), _clip_tokenizer(32))
        return Sam3(model, processor, name, device, precision)
    if kind in hf_masks.KINDS:
        family = hf_masks.KINDS[kind]
        images = getattr(transformers, family.processor.replace("Processor", "ImageProcessor"))()
        processor = getattr(transformers, family.processor)(images)
        return HfMasks(getattr(transformers, family.model)(config), processor, name, device, precision)
    images, tokenizer = _DETECTORS[kind](transformers)
    processor = getattr(transformers, hf_detector.KINDS[kind].processor)(images, tokenizer)
    model = getattr(transformers, hf_detector.KINDS[kind].model)(config)
    return HfDetector(model, processor, name, device, precision)


@cache
def _bert_tokenizer() -> Any:
    """BERT's tokenizer with the vocabulary of the bundled detector, whose special tokens have BERT's ids."""
    from .grounding_dino import build_tokenizer

    return build_tokenizer((TINY / "vocab.txt").read_text("utf-8").splitlines())


def _clip_tokenizer(length: int) -> Any:
    """CLIP's tokenizer with the vocabulary that comes with open_clip."""
    import open_clip
    import transformers

    known = open_clip.SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return transformers.CLIPTokenizer(
        vocab={special.get(word, word): i for word, i in known.encoder.items()},
        merges=list(known.bpe_ranks),
        model_max_length=length,
    )


# Image processor and tokenizer of a kind of detector, with the published sizes.
_DETECTORS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "mm-grounding-dino": lambda library: (library.GroundingDinoImageProcessor(), _bert_tokenizer()),
    "omdet-turbo": lambda library: (
        library.DetrImageProcessor(size={"height": 640, "width": 640}, do_pad=False),
        _clip_tokenizer(77),
    ),
}
