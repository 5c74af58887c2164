"""The models that are tried: one of each kind, on any device and in any precision, always with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.benchmarks.gpu.pictures import picture
from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import CheckpointError
from wsss_seed.models.clip import Clip
from wsss_seed.models.grounding_dino import GroundingDino
from wsss_seed.models.hf_detector import HfDetector
from wsss_seed.models.hf_masks import HfMasks
from wsss_seed.models.sam import Sam
from wsss_seed.models.sam3 import Sam3
from wsss_seed.models.untrained import untrained
from wsss_seed.models.zoo import HUB, ModelSet, model_sets
from wsss_seed.seeding.clip_sams.cam import softmax_gradcam

ROLES = ("detector", "sam", "clip")  # groundingdino's decoder first: it has most of what a CPU never runs

Make = Callable[[str, str], Any]


class Case(NamedTuple):
    """A model to try.

    Attributes:
        make: makes it from a device and a precision, as often as needed, with the same weights.
        trained: whether it has trained weights, so that its answers mean something.
    """

    make: Make
    trained: bool = False


def bundled() -> dict[str, Case]:
    """The miniatures, the only trained models at hand."""
    return {
        f"tiny {role}": Case(lambda device, precision, role=role: _bundled(role, device, precision), True)
        for role in ROLES
    }


def _bundled(role: str, device: str, precision: str) -> Any:
    return getattr(ModelSet("tiny", device, precision=precision), role)


def full_size(*sets: str) -> dict[str, Case]:
    """The models of model sets with random weights; those of transformers are left out."""
    rows = {(role, name) for spec in sets for role, name, _ in model_sets()[spec].models() if HUB not in name}
    ordered = sorted(rows, key=lambda row: (ROLES.index(row[0]), row[1]))
    return {f"{role} {name}": Case(_with_random_weights(role, name)) for role, name in ordered}


def of_transformers() -> dict[str, Case]:
    """A small model of each of transformers' classes, with random weights. Raises ImportError for an older one."""
    from tests import small_hf

    found: dict[str, Case] = {}
    for kind, build in small_hf.DETECTORS.items():
        found[f"hf detector {kind}"] = Case(
            lambda device, precision, build=build: HfDetector(*_fitted(*build()), device=device, precision=precision)
        )
    for kind, build in small_hf.MASK_MODELS.items():
        found[f"hf masks {kind}"] = Case(
            lambda device, precision, build=build: HfMasks(*build(), device=device, precision=precision)
        )
    found["sam3"] = Case(lambda device, precision: Sam3(*small_hf.sam3(), device=device, precision=precision))
    return found


def _fitted(model: nn.Module, processor: Any) -> tuple[nn.Module, Any]:
    """A detector whose batch norms have seen an image; with other statistics random layers exceed the range of fp16."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        fitting = HfDetector(copy.deepcopy(model), processor)
        seeing = [module for module in fitting.model.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in seeing:
            module.train()
            module.momentum = 1.0
        fitting.detect(picture(), [("cat",)])
        for module, seen in zip(norms, seeing, strict=True):
            module.load_state_dict(seen.state_dict())
    return model, processor


def of_transformers_in_full_size() -> dict[str, Case]:
    """The models of transformers that model sets name, with random weights."""
    rows = {(role, name) for spec in model_sets().values() for role, name, _ in spec.models() if HUB in name}
    return {
        f"{role} {name}": Case(lambda device, precision, row=(role, name): _untrained(*row, device, precision))
        for role, name in sorted(rows)
    }


def _untrained(role: str, name: str, device: str, precision: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return untrained(role, name, device, precision)


def _with_random_weights(role: str, name: str) -> Make:
    """Drawing the weights takes seconds, so it is done once."""

    @cache
    def drawn() -> Any:
        return _untrained(role, name, "cpu", "fp32")

    def make(device: str, precision: str) -> Any:
        model = drawn()
        weights = copy.deepcopy(model.model)
        if isinstance(model, Clip):
            return Clip(weights, model.tokenizer, name, device, precision)
        if isinstance(model, GroundingDino):
            return GroundingDino(weights, model.resize, name, device, precision)
        return Sam(weights, name, device, precision)

    return make


# Answers ----------------------------------------------------------------------------------------------------------


def answers(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """What a model answers about an image, by all of its public methods.

    Returns:
        ``boxes`` float32 (n, 4) in pixels with ``scores`` (n,), best first; ``masks`` bool (n, H, W); everything else
        is float32 of any shape.
    """
    if isinstance(model, Clip):
        found = _of_clip(model, image)
    elif isinstance(model, GroundingDino | HfDetector):
        found = _of_detector(model, image)
    elif isinstance(model, Sam3):
        found = _of_sam3(model, image)
    else:
        found = _of_mask_model(model, image)
    return {name: value.detach().cpu().numpy() if torch.is_tensor(value) else value for name, value in found.items()}


def _boxes(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    corners = [[0.1, 0.2, 0.5, 0.8], [0.3, 0.1, 0.9, 0.6], [0.0, 0.0, 1.0, 1.0]]
    return np.array(corners) * [width, height, width, height]


def _of_clip(clip: Clip, image: np.ndarray) -> Mapping[str, Any]:
    texts = clip.encode_text(["a photo of a cat", "a photo of a dog", "grass"])
    found = {"texts": texts, "views": clip.encode_views(image, _boxes(image))}
    try:
        clip.require_patches()
    except CheckpointError:
        return found
    tower = clip.encode_tokens(clip.prepare(image), 8)
    maps = softmax_gradcam(clip, tower, F.normalize(texts, dim=-1), torch.tensor([[True, True]]))
    patches = clip.encode_patches(image)
    return {**found, "attention": tower.attention, "maps": maps, "patches": patches.features}


def _of_detector(detector: Any, image: np.ndarray) -> Mapping[str, Any]:
    phrases = load_class_set("voc").phrases if isinstance(detector, GroundingDino) else [("cat",), ("dog", "puppy")]
    found = detector.detect(image, phrases)
    order = np.argsort(-found.scores, kind="stable")
    apart = detector.detect(image, phrases[:2], joint=False)  # uses what the detector remembers of the image
    return {
        "boxes": found.boxes[order],
        "scores": found.scores[order],
        "class_scores": found.class_scores[order],
        "scores_apart": -np.sort(-apart.scores),
    }


def _of_mask_model(sam: Any, image: np.ndarray) -> Mapping[str, Any]:
    embedding, boxes = sam.embed(image), _boxes(image)
    single, several = sam.decode_boxes(embedding, boxes), sam.decode_boxes(embedding, boxes, multimask=True)
    [point] = sam.decode_points(embedding, (boxes[:, :2] + boxes[:, 2:]) / 2)
    low_res = point.low_res(torch.ones_like(point.iou, dtype=torch.bool))
    logits = sam.logits(embedding, single.low_res)[:, 0]
    covered = sum(int(window.logits.numel()) for window in sam.upsampled_windows(embedding, low_res, 0.0))
    features = embedding.features if torch.is_tensor(embedding.features) else embedding.features["image_embeddings"]
    features = torch.cat([part.flatten() for part in features]) if isinstance(features, list | tuple) else features
    return {
        "features": features,
        "box_logits": single.low_res,
        "several_logits": several.low_res,
        "several_iou": several.iou,
        "point_logits": low_res,
        "point_iou": point.iou,
        "windows": np.array(covered, np.float32),
        "masks": logits > 0,
    }


def _of_sam3(sam3: Sam3, image: np.ndarray) -> Mapping[str, Any]:
    embedding = sam3.embed(image)
    found = sam3.ask(embedding, "cat")
    order = np.argsort(-found.scores, kind="stable")
    masks = [logits > 0 for logits in sam3.logits(embedding, found.low_res)]
    return {
        "boxes": found.boxes[order],
        "scores": found.scores[order],
        "low_res": found.low_res,
        "masks": torch.stack(masks),
    }
