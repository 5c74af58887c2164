"""Zero-shot detectors of transformers: an image is encoded once for any number of phrases.

Grounding DINO, MM Grounding DINO and LLMDet score the tokens of a caption, which map to class scores by phrase spans as
with groundingdino. OWLv2, OWL-ViT and OmDet-Turbo score phrases. Boxes and scores are those of the processor of the
model family before its thresholds. Only the scores of OWLv2 and OWL-ViT are raised to the level of Grounding DINO's, so
that the same thresholds suit all families.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .detector import (
    TOKEN_LIMIT,
    Caption,
    Phrase,
    Queries,
    ScoreMap,
    class_scores,
    merged,
    pixel_boxes,
    unique_phrases,
    write_caption,
    write_captions,
)
from .hf_preprocess import preprocess
from .hub import folder_of, kind_of, load, unfit
from .precision import computing, store_half, with_memory

# Arguments with which OmDet-Turbo's processor tokenizes task and classes.
_OMDET_TEXT = {"padding": "max_length", "truncation": True, "max_length": 77, "return_token_type_ids": False}
_OWL_TEMPLATE = "a photo of a {}"  # one of those with which OWL-ViT was trained and evaluated
_MAX_ASPECT_RATIO = 20  # a thinner strip would have fewer feature cells than Grounding DINO has queries

Output = tuple[Tensor, Tensor]
"""Boxes (n, 4) cx cy w h in 0..1, and logits (n, tokens) of a caption's tokens or (n, phrases) of its phrases."""


class Family(NamedTuple):
    """Specifics of a family of detectors.

    Attributes:
        model, processor: names of the classes in transformers.
        of_image: names of the modules that depend on the image only.
        captions: function (model, processor, phrases) -> captions.
        detect: function (model, processor, image, caption) -> output.
        spans: whether logits are per token rather than per phrase.
        square: whether boxes refer to the image padded to a square.
        exponent: exponent of the scores. OWLv2's useful thresholds are about 0.20 and 0.10, OWL-ViT's 0.10 and 0.05,
            where Grounding DINO's are 0.30 and 0.20; the exponents map the former to the latter.
    """

    model: str
    processor: str
    of_image: tuple[str, ...]
    captions: Callable[[Any, Any, Sequence[Phrase]], list[Caption]]
    detect: Callable[[Any, Any, dict[str, Tensor], Caption], Output]
    spans: bool = False
    square: bool = False
    exponent: float = 1.0


def _count(processor: Any) -> Callable[[str], int]:
    return lambda text: len(processor.tokenizer.tokenize(text))


def _dino_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    return write_captions(phrases, _count(processor), min(TOKEN_LIMIT, model.config.max_text_len))


def _detect_dino(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Output:
    text = processor.tokenizer(caption.text, return_token_type_ids=True, return_tensors="pt").to(model.device)
    out = model(**image, **text)
    return out.pred_boxes[0], out.logits[0]


def _owl_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    limit = model.config.text_config.max_position_embeddings + 1  # per phrase, without "."
    template = len(processor.tokenizer.tokenize(_OWL_TEMPLATE.format("")))
    for phrase in phrases:
        write_captions([phrase], _count(processor), limit - template)
    return [write_caption(phrases)] if phrases else []


def _detect_owl(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Output:
    texts = [_OWL_TEMPLATE.format(phrase.text) for phrase in caption.phrases]
    text = processor(text=[texts], return_tensors="pt").to(model.device)
    out = model(**image, **text)
    return out.pred_boxes[0], out.logits[0]


def _omdet_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    return write_captions(phrases, _count(processor), 77 - 1)  # for "detect"


def _detect_omdet(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Output:
    phrases = [phrase.text for phrase in caption.phrases]
    texts = {"tasks": [f"Detect {', '.join(phrases)}."], "classes": phrases}  # as the processor phrases the task
    inputs = {
        f"{role}_{name}": value
        for role, text in texts.items()
        for name, value in processor.tokenizer(text, **_OMDET_TEXT, return_tensors="pt").items()
    }
    inputs["classes_structure"] = torch.tensor([len(phrases)])
    out = model(**image, **{name: value.to(model.device) for name, value in inputs.items()})
    return out.decoder_coord_logits[0], out.decoder_class_logits[0]


_DINO = Family("", "GroundingDinoProcessor", ("model.backbone",), _dino_captions, _detect_dino, spans=True)
KINDS = {
    "grounding-dino": _DINO._replace(model="GroundingDinoForObjectDetection"),
    "mm-grounding-dino": _DINO._replace(model="MMGroundingDinoForObjectDetection"),  # LLMDet too
    "omdet-turbo": Family(
        "OmDetTurboForObjectDetection",
        "OmDetTurboProcessor",
        ("vision_backbone", "encoder"),
        _omdet_captions,
        _detect_omdet,
    ),
    "owlv2": Family(
        "Owlv2ForObjectDetection",
        "Owlv2Processor",
        ("owlv2.vision_model",),
        _owl_captions,
        _detect_owl,
        square=True,
        exponent=0.72,
    ),
    "owlvit": Family(
        "OwlViTForObjectDetection",
        "OwlViTProcessor",
        ("owlvit.vision_model",),
        _owl_captions,
        _detect_owl,
        exponent=0.53,
    ),
}


class HfDetector:
    """A frozen zero-shot detector of transformers on one device.

    Attributes:
        name: what it was loaded from.
        model: transformers' model in evaluation mode; linear layers and convolutions in ``precision``, the
            rest in float32.
        processor: its processor.
        device: device of the model.
        precision: precision of the model: ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str = "hf-detector",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ):
        self.name = name
        self.device = torch.device(device)
        self.precision = precision
        self.model = model.float().eval().requires_grad_(False)
        store_half(self.model, precision)
        self.model.to(self.device)
        self.processor = processor
        self._family = KINDS[model.config.model_type]
        for path in self._family.of_image:
            _cache_output(self.model.get_submodule(path))
        self._last: tuple[np.ndarray, dict[str, Tensor]] | None = None
        self._one = threading.Lock()  # for what is remembered of the last image

    @torch.inference_mode()
    def detect(
        self,
        image: np.ndarray,
        phrases: Sequence[Sequence[str]],
        *,
        joint: bool = True,
        score: ScoreMap = "span_mean_max",
    ) -> Queries:
        """Detect classes in one image; see ``Detector``.

        The backbone runs once per image for any number of captions and of consecutive calls with the same array, which
        must not be modified in between. For families that score phrases, ``score`` has no effect, and ``joint`` only
        determines whether classes share queries: OWLv2's do not compete.

        Raises:
            WsssError: a phrase exceeds the length of the text encoder.
        """
        with self._one:
            return self._detect(image, phrases, joint, score)

    def _detect(self, image: np.ndarray, phrases: Sequence[Sequence[str]], joint: bool, score: ScoreMap) -> Queries:
        height, width = image.shape[:2]
        frame = (max(height, width),) * 2 if self._family.square else (height, width)
        inputs = self._inputs(image)
        named = unique_phrases(phrases)
        groups = [named]
        if not joint:
            groups = [[Phrase(p.text, (c,)) for p in named if c in p.classes] for c in range(len(phrases))]
        parts = []
        for group in groups:
            for caption in self._family.captions(self.model, self.processor, group):
                boxes, probabilities = self._ask(inputs, caption)
                by_class = self._class_scores(probabilities, caption, len(phrases), score)
                within = np.clip(pixel_boxes(boxes, *frame), 0, np.array([width, height] * 2, np.float32))
                parts.append(Queries(within, probabilities.max(1), by_class))
        return merged(parts, len(phrases))

    def _inputs(self, image: np.ndarray) -> dict[str, Tensor]:
        """The preprocessed image: the same objects for the same image, the key of the cache of the image modules."""
        if self._last is None or self._last[0] is not image:
            inputs = preprocess(
                self.processor.image_processor, image, _MAX_ASPECT_RATIO if self._family.spans else None
            )
            self._last = (image, dict(inputs.to(self.device)))
        return self._last[1]

    def _ask(self, inputs: dict[str, Tensor], caption: Caption) -> tuple[np.ndarray, np.ndarray]:
        with computing(self.device, self.precision):
            boxes, logits = with_memory(lambda: self._family.detect(self.model, self.processor, inputs, caption))
        return boxes.float().cpu().numpy(), logits.float().sigmoid().pow(self._family.exponent).cpu().numpy()

    def _class_scores(self, probabilities: np.ndarray, caption: Caption, classes: int, score: ScoreMap) -> np.ndarray:
        """float32 (n, C), the maximum over the phrases of each class."""
        if self._family.spans:
            offsets = self.processor.tokenizer(caption.text, return_offsets_mapping=True)["offset_mapping"]
            return class_scores(probabilities, caption, offsets, classes, score)
        out = np.zeros((len(probabilities), classes), np.float32)
        for phrase, own in zip(caption.phrases, probabilities.T, strict=True):
            for c in phrase.classes:
                out[:, c] = np.maximum(out[:, c], own)
        return out


def _cache_output(module: nn.Module) -> None:
    """Make a module return its last output as long as its first argument is the same object."""
    run = module.forward
    last: list[Any] = [None, None]

    def forward(*arguments: Any, **options: Any) -> Any:
        seen = arguments[0] if arguments else next(iter(options.values()))
        if last[0] is not seen:
            last[:] = seen, run(*arguments, **options)
        if isinstance(last[1], tuple) and isinstance(last[1][0], list):  # Grounding DINO appends to these lists
            return tuple(list(part) for part in last[1])
        return last[1]

    module.forward = forward


def load_hf_detector(name: str, device: str | torch.device = "cpu", precision: str = "fp32") -> HfDetector:
    """Load a zero-shot detector of transformers.

    Args:
        name: a folder as ``save_pretrained`` writes it, or a repository of the hub, ``OWNER/NAME``.
        device: device of the model.
        precision: precision of the model.

    Raises:
        WsssError: no such model, a model of another kind, or weights that do not fit.
    """
    folder = folder_of(name)
    kind = kind_of(folder)
    if kind not in KINDS:
        raise unfit(name, kind, "a zero-shot detector", KINDS)
    model, processor = load(name, folder, KINDS[kind].model, KINDS[kind].processor)
    return HfDetector(model, processor, name, device, precision)
