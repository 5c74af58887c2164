"""SAM 3 through transformers: an image is encoded once, then all instances of a phrase are segmented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .detector import Phrase, normalised, write_captions
from .hf_preprocess import preprocess
from .hub import folder_of, kind_of, load, unfit
from .precision import computing, store_half, with_memory

# SAM 3 is published together with its tracker, as a model for videos.
KINDS = ("sam3", "sam3_video")
_TOKENS = 32  # per phrase, [start] and [end] included, to which the processor pads
_PHRASES = 4096  # phrases whose text features are cached
_PROBABILITY_PIXELS = 2**25  # upsampled together


@dataclass(frozen=True)
class Sam3Embedding:
    """An encoded image: ``features`` for the model, on its device, and height and width of the image."""

    features: Any
    original_size: tuple[int, int]


class TextMasks(NamedTuple):
    """Instances of a phrase that SAM 3 found, in no particular order.

    Attributes:
        boxes: float32 (n, 4) x0 y0 x1 y1 in pixels of the image, clipped to it.
        scores: float32 (n,) in 0..1, presence score of the phrase times score of the instance.
        low_res: float32 (n, h, w) mask logits on the decoder's grid, on the device of the model.
    """

    boxes: np.ndarray
    scores: np.ndarray
    low_res: Tensor


class Sam3:
    """A frozen SAM 3 on one device.

    Attributes:
        name: what it was loaded from.
        model: transformers' model in evaluation mode; float32, but the image encoder's weights in ``precision``.
        processor: its processor.
        device: device of the model.
        precision: precision of the model: ``fp32``, ``bf16`` or ``fp16``; texts are always float32.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str = "sam3",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ):
        self.name = name
        self.device = torch.device(device)
        self.precision = precision
        self.model = model.float().eval().requires_grad_(False)
        store_half(self.model.vision_encoder, precision)
        self.model.to(self.device)
        self.processor = processor
        self._texts: dict[str, tuple[Any, Tensor]] = {}

    @torch.inference_mode()
    def embed(self, image: np.ndarray) -> Sam3Embedding:
        """Encode an image uint8 (H, W, 3) RGB, the expensive step, once for all phrases."""
        pixels = preprocess(self.processor.image_processor, image)["pixel_values"].to(self.device)
        with computing(self.device, self.precision):
            features = with_memory(lambda: self.model.get_vision_features(pixels))
        return Sam3Embedding(features, (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def ask(self, embedding: Sam3Embedding, phrase: str, least: float = 0.0) -> TextMasks:
        """All instances of a phrase in an image.

        Boxes and scores are those of the processor's ``post_process_instance_segmentation``.

        Args:
            embedding: of the image.
            phrase: phrase to detect, regardless of case and full stops.
            least: minimum score of instances.

        Raises:
            WsssError: the phrase exceeds the length of the text encoder.
        """
        text, mask = self._text(normalised(phrase))
        with computing(self.device, self.precision):
            out = self.model(vision_embeds=embedding.features, text_embeds=text, attention_mask=mask)
        scores = (out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid())[0]
        keep = scores >= least
        height, width = embedding.original_size
        size = torch.tensor([width, height] * 2, dtype=torch.float32, device=self.device)
        boxes = (out.pred_boxes[0, keep].float() * size).clamp(min=torch.zeros_like(size), max=size)
        return TextMasks(boxes.cpu().numpy(), scores[keep].cpu().numpy(), out.pred_masks[0, keep].float())

    @torch.inference_mode()
    def logits(self, embedding: Sam3Embedding, low_res: Tensor) -> Iterator[Tensor]:
        """Masks at the size of the image, one after the other: float32 (H, W) logits, positive inside the mask as given
        by the processor's ``post_process_instance_segmentation``, which upsamples probabilities.

        Args:
            embedding: of the image.
            low_res: float32 (n, h, w), see ``TextMasks``.
        """
        yield from upsampled_probabilities(low_res, embedding.original_size)

    def _text(self, phrase: str) -> tuple[Any, Tensor]:
        """Text features and attention mask of a phrase."""
        if phrase not in self._texts:
            longest = min(_TOKENS, self.model.config.text_config.max_position_embeddings)
            write_captions([Phrase(phrase, ())], lambda text: len(self.processor.tokenizer.tokenize(text)), longest + 1)
            tokens = self.processor(text=phrase, return_tensors="pt").to(self.device)
            if len(self._texts) >= _PHRASES:
                self._texts.clear()
            with computing(self.device):
                self._texts[phrase] = self.model.get_text_features(**tokens), tokens["attention_mask"]
        return self._texts[phrase]


def upsampled_probabilities(low_res: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Mask logits float32 (n, h, w) at another size (H, W), one mask after the other, interpolated as probabilities."""
    height, width = size
    for part in low_res.split(max(1, _PROBABILITY_PIXELS // (height * width))):
        grown = F.interpolate(part.sigmoid()[None], (height, width), mode="bilinear", align_corners=False)[0]
        yield from grown.logit()


def load_sam3(name: str, device: str | torch.device = "cpu", precision: str = "fp32") -> Sam3:
    """Load SAM 3.

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
        raise unfit(name, kind, "SAM 3", KINDS)
    model, processor = load(name, folder, "Sam3Model", "Sam3Processor")
    return Sam3(model, processor, name, device, precision)
