"""Zero-shot detectors of transformers: an image is encoded once, then asked for any number of phrases.

Grounding DINO, MM Grounding DINO and LLMDet read a caption and score its tokens, which become scores of classes by the
phrases' spans, as with groundingdino. OWLv2, OWL-ViT and OmDet-Turbo score each phrase by themselves. Boxes and scores
are those of the family's own processor before its thresholds.
"""

from __future__ import annotations

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
from .precision import computing

# How OmDet-Turbo's processor makes tokens of the task and of classes.
_OMDET_TEXT = {"padding": "max_length", "truncation": True, "max_length": 77, "return_token_type_ids": False}
_THINNEST = 20  # a strip still thinner would have fewer cells than Grounding DINO has queries

Answer = tuple[Tensor, Tensor]
"""Boxes (n, 4) cx cy w h of 0..1, and logits (n, tokens) of a caption's tokens or (n, phrases) of its phrases."""


class Family(NamedTuple):
    """What a family of detectors does in its own way.

    Attributes:
        model, processor: its classes in transformers.
        of_image: the modules, by their names in the model, that look at nothing but the image.
        captions: of the model, its processor and phrases, the captions that ask for them.
        ask: of the model, its processor, the image and a caption, the answer.
        spans: whether logits are of tokens.
        square: whether boxes refer to the image padded to a square.
    """

    model: str
    processor: str
    of_image: tuple[str, ...]
    captions: Callable[[Any, Any, Sequence[Phrase]], list[Caption]]
    ask: Callable[[Any, Any, dict[str, Tensor], Caption], Answer]
    spans: bool = False
    square: bool = False


def _count(processor: Any) -> Callable[[str], int]:
    return lambda text: len(processor.tokenizer.tokenize(text))


def _dino_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    return write_captions(phrases, _count(processor), min(TOKEN_LIMIT, model.config.max_text_len))


def _ask_dino(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Answer:
    text = processor.tokenizer(caption.text, return_token_type_ids=True, return_tensors="pt").to(model.device)
    out = model(**image, **text)
    return out.pred_boxes[0], out.logits[0]


def _owl_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    limit = model.config.text_config.max_position_embeddings + 1  # of each phrase, which needs no "."
    for phrase in phrases:
        write_captions([phrase], _count(processor), limit)
    return [write_caption(phrases)] if phrases else []


def _ask_owl(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Answer:
    text = processor(text=[[phrase.text for phrase in caption.phrases]], return_tensors="pt").to(model.device)
    out = model(**image, **text)
    return out.pred_boxes[0], out.logits[0]


def _omdet_captions(model: Any, processor: Any, phrases: Sequence[Phrase]) -> list[Caption]:
    return write_captions(phrases, _count(processor), 77 - 1)  # for "detect"


def _ask_omdet(model: Any, processor: Any, image: dict[str, Tensor], caption: Caption) -> Answer:
    phrases = [phrase.text for phrase in caption.phrases]
    texts = {"tasks": [f"Detect {', '.join(phrases)}."], "classes": phrases}  # as the processor writes the task
    inputs = {
        f"{role}_{name}": value
        for role, text in texts.items()
        for name, value in processor.tokenizer(text, **_OMDET_TEXT, return_tensors="pt").items()
    }
    inputs["classes_structure"] = torch.tensor([len(phrases)])
    out = model(**image, **{name: value.to(model.device) for name, value in inputs.items()})
    return out.decoder_coord_logits[0], out.decoder_class_logits[0]


_DINO = Family("", "GroundingDinoProcessor", ("model.backbone",), _dino_captions, _ask_dino, spans=True)
KINDS = {
    "grounding-dino": _DINO._replace(model="GroundingDinoForObjectDetection"),
    "mm-grounding-dino": _DINO._replace(model="MMGroundingDinoForObjectDetection"),  # LLMDet too
    "omdet-turbo": Family(
        "OmDetTurboForObjectDetection",
        "OmDetTurboProcessor",
        ("vision_backbone", "encoder"),
        _omdet_captions,
        _ask_omdet,
    ),
    "owlv2": Family(
        "Owlv2ForObjectDetection", "Owlv2Processor", ("owlv2.vision_model",), _owl_captions, _ask_owl, square=True
    ),
    "owlvit": Family("OwlViTForObjectDetection", "OwlViTProcessor", ("owlvit.vision_model",), _owl_captions, _ask_owl),
}


class HfDetector:
    """A frozen zero-shot detector of transformers on one device.

    Attributes:
        name: what it was loaded from.
        model: transformers' model, float32, in evaluation mode.
        processor: its processor.
        device: where it runs.
        precision: ``fp32``, ``bf16`` or ``fp16``, in which it computes.
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
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.processor = processor
        self._family = KINDS[model.config.model_type]
        for path in self._family.of_image:
            _look_once(self.model.get_submodule(path))
        self._last: tuple[np.ndarray, dict[str, Tensor]] | None = None

    @torch.inference_mode()
    def detect(
        self,
        image: np.ndarray,
        phrases: Sequence[Sequence[str]],
        *,
        joint: bool = True,
        score: ScoreMap = "span_mean_max",
    ) -> Queries:
        """Look for classes in one image; see ``Detector``.

        The image passes the backbone once, whatever the number of captions and of calls in a row with the same array,
        which must not be written to between them. With families that score phrases, ``score`` makes no difference, and
        ``joint`` only how the phrases of several classes share queries: OWLv2's do not compete.

        Raises:
            WsssError: a phrase longer than the text encoder reads.
        """
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
        """What the processor makes of an image: the same objects for the same image, by which the model's modules know
        that they need not look again."""
        if self._last is None or self._last[0] is not image:
            inputs = preprocess(self.processor.image_processor, image, _THINNEST if self._family.spans else None)
            self._last = (image, dict(inputs.to(self.device)))
        return self._last[1]

    def _ask(self, inputs: dict[str, Tensor], caption: Caption) -> tuple[np.ndarray, np.ndarray]:
        with computing(self.device, self.precision):
            boxes, logits = self._family.ask(self.model, self.processor, inputs, caption)
        return boxes.float().cpu().numpy(), logits.float().sigmoid().cpu().numpy()

    def _class_scores(self, probabilities: np.ndarray, caption: Caption, classes: int, score: ScoreMap) -> np.ndarray:
        """float32 (n, C); a class scores as the best of its phrases."""
        if self._family.spans:
            offsets = self.processor.tokenizer(caption.text, return_offsets_mapping=True)["offset_mapping"]
            return class_scores(probabilities, caption, offsets, classes, score)
        out = np.zeros((len(probabilities), classes), np.float32)
        for phrase, own in zip(caption.phrases, probabilities.T, strict=True):
            for c in phrase.classes:
                out[:, c] = np.maximum(out[:, c], own)
        return out


def _look_once(module: nn.Module) -> None:
    """Have a module answer from memory as long as its first argument is the same object."""
    look = module.forward
    last: list[Any] = [None, None]

    def forward(*arguments: Any, **options: Any) -> Any:
        seen = arguments[0] if arguments else next(iter(options.values()))
        if last[0] is not seen:
            last[:] = seen, look(*arguments, **options)
        if isinstance(last[1], tuple) and isinstance(last[1][0], list):  # Grounding DINO appends to what it gets
            return tuple(list(part) for part in last[1])
        return last[1]

    module.forward = forward


def load_hf_detector(name: str, device: str | torch.device = "cpu", precision: str = "fp32") -> HfDetector:
    """Load a zero-shot detector of transformers.

    Args:
        name: a folder as ``save_pretrained`` writes it, or a repository of the hub, ``OWNER/NAME``.
        device: where to put the model.
        precision: in which it computes.

    Raises:
        WsssError: no such model, a model of another kind, or weights that do not fit.
    """
    folder = folder_of(name)
    kind = kind_of(folder)
    if kind not in KINDS:
        raise unfit(name, kind, "a zero-shot detector", KINDS)
    model, processor = load(name, folder, KINDS[kind].model, KINDS[kind].processor)
    return HfDetector(model, processor, name, device, precision)
