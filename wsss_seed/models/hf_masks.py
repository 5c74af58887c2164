"""Segment Anything and its successors through transformers: an image is encoded once, then decoded for boxes and
points, as by the processor and model of the family.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .hf_preprocess import preprocess
from .hub import folder_of, kind_of, load, unfit
from .masks import BoxMasks, checked_prompt
from .precision import AdaptiveBatch, computing, store_half, with_memory
from .upsample import Steps, Window, interpolation_matrix, upsampled, upsampled_windows


class _Classes(NamedTuple):
    """Names of classes in transformers."""

    model: str
    processor: str


_SAM = _Classes("SamModel", "SamProcessor")
_SAM2 = _Classes("Sam2Model", "Sam2Processor")
_SAM3 = _Classes("Sam3TrackerModel", "Sam3TrackerProcessor")
# Checkpoints of SAM 2.1 and SAM 3 are published as video models, of which the image part is used.
KINDS = {
    "sam": _SAM,
    "sam_hq": _Classes("SamHQModel", "SamHQProcessor"),
    "sam2": _SAM2,
    "sam2_video": _SAM2,
    "sam3_tracker": _SAM3,
    "sam3_video": _SAM3,
}


@dataclass(frozen=True)
class HfEmbedding:
    """An encoded image.

    Attributes:
        features: arguments of the model by name, tensors or lists of tensors, on its device.
        side: height and width of the input of the model, padding included.
        input_size: height and width of the resized image, without padding.
        original_size: height and width of the image.
    """

    features: dict[str, Any]
    side: tuple[int, int]
    input_size: tuple[int, int]
    original_size: tuple[int, int]

    @property
    def steps(self) -> Steps:
        """Steps of upsampling from the decoder's grid to the image: (size to interpolate to, part of it to keep).

        A model that keeps the aspect ratio pads the image, so the padding has to be cropped on the way.
        """
        last = (self.original_size, self.original_size)
        return [last] if self.input_size == self.side else [(self.side, self.input_size), last]


class HfPointMasks(NamedTuple):
    """Decoded masks of n points, three per point: sub-part, part and whole.

    Attributes:
        iou: float32 (n, 3) predicted IoU of each mask.
        masks: float32 (n, 3, h, w) logits on the decoder's grid.
    """

    iou: Tensor
    masks: Tensor

    def low_res(self, chosen: Tensor) -> Tensor:
        """Logits float32 (k, h, w) of the masks selected by ``chosen``, bool (n, 3)."""
        return self.masks[chosen]


class HfMasks:
    """A frozen SAM, SAM-HQ, SAM 2 or SAM 3 (its tracker) of transformers on one device; see ``Sam`` for its methods.

    Attributes:
        name: what it was loaded from.
        model: transformers' model in evaluation mode; float32, but the image encoder's weights in ``precision``.
        processor: its processor.
        device: device of the model.
        precision: precision of the image encoder: ``fp32``, ``bf16`` or ``fp16``; decoding is float32.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str = "hf-sam",
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
        self._boxes, self._points = AdaptiveBatch("boxes for SAM"), AdaptiveBatch("points for SAM")
        self._decode = _LevelsInOrder(self.model) if model.config.model_type == "sam_hq" else self._decode_plainly

    @torch.inference_mode()
    def embed(self, image: np.ndarray) -> HfEmbedding:
        """Encode an image, the expensive step, once for all prompts.

        Args:
            image: uint8 (H, W, 3) RGB, of any size and shape.
        """
        # The aspect ratio is limited because a thinner image would have no pixel left at the model's size.
        inputs = preprocess(self.processor.image_processor, image, self.processor.target_size)
        pixels = inputs["pixel_values"].to(self.device)
        side = (pixels.shape[-2], pixels.shape[-1])
        height, width = inputs["reshaped_input_sizes"][0].tolist() if "reshaped_input_sizes" in inputs else side
        with computing(self.device, self.precision):
            found = _float32(with_memory(lambda: self.model.get_image_embeddings(pixels)))
        features = {"image_embeddings": found}
        if isinstance(found, tuple):  # SAM-HQ also uses inner layers of the encoder
            features = dict(zip(("image_embeddings", "intermediate_embeddings"), found, strict=True))
        return HfEmbedding(features, side, (height, width), (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def decode_boxes(
        self, embedding: HfEmbedding, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks:
        """Masks of boxes on the decoder's grid, to be upsampled by ``logits``.

        Without ``multimask``, SAM 2 and 3 replace an unstable single mask by the best of the three levels; SAM-HQ adds
        its own mask to each mask.

        Args:
            embedding: of the image.
            boxes: float (n, 4) x0 y0 x1 y1 in pixels of the original image.
            multimask: False for one mask per box (M = 1), True for sub-part, part and whole (M = 3), in this order.
            chunk: boxes decoded together, fewer if memory runs out.
        """

        def decode(part: Tensor) -> BoxMasks:
            return self._decode(embedding.features, {"input_boxes": part[None]}, multimask)

        prompts = self._scaled(embedding, np.asarray(boxes, float).reshape(-1, 2, 2)).flatten(1)
        parts = list(self._boxes.map(decode, prompts, chunk))
        if not parts:  # an arbitrary box yields the size of the grid
            return BoxMasks(*(x[:0] for x in decode(torch.zeros(1, 4, device=self.device))))
        return BoxMasks(torch.cat([p.low_res for p in parts]), torch.cat([p.iou for p in parts]))

    @torch.inference_mode()
    def decode_points(self, embedding: HfEmbedding, points: np.ndarray, chunk: int = 64) -> Iterator[HfPointMasks]:
        """Decode points of an image independently, ``chunk`` at a time.

        Args:
            embedding: of the image.
            points: float (n, 2) x y in pixels of the original image.
            chunk: points decoded together, fewer if memory runs out.
        """

        def decode(part: Tensor) -> HfPointMasks:
            labels = torch.ones(1, len(part), 1, dtype=torch.long, device=self.device)
            found = self._decode(embedding.features, {"input_points": part[None], "input_labels": labels}, True)
            return HfPointMasks(found.iou, found.low_res)

        prompts = self._scaled(embedding, np.asarray(points, float).reshape(-1, 1, 2))
        yield from self._points.map(decode, prompts, chunk)

    @torch.inference_mode()
    def decode_prompt(
        self, embedding: HfEmbedding, points: np.ndarray, positive: np.ndarray, box: np.ndarray | None = None
    ) -> BoxMasks:
        """Masks of one object that several points, a box or both indicate; see ``Sam.decode_prompt``.

        Args:
            embedding: of the image.
            points: float (n, 2) x y in pixels of the original image.
            positive: bool (n,), whether a point is on the object; the others are beside it.
            box: float (4,) x0 y0 x1 y1 in pixels of the original image.

        Raises ValueError without points and box.
        """
        points, positive = checked_prompt(points, positive, box)
        prompts: dict[str, Tensor] = {}
        if len(points):
            labels = torch.from_numpy(positive.astype(np.int64)).to(self.device)
            prompts |= {"input_points": self._scaled(embedding, points)[None, None], "input_labels": labels[None, None]}
        if box is not None:
            prompts["input_boxes"] = self._scaled(embedding, np.asarray(box, float).reshape(2, 2)).reshape(1, 1, 4)
        return self._decode(embedding.features, prompts, len(points) == 1 and box is None)

    @torch.inference_mode()
    def upsampled_windows(self, embedding: HfEmbedding, low_res: Tensor, floor: float) -> Iterator[Window]:
        """Upsample mask logits (n, h, w) as ``logits`` does, but only where they can be above a floor; see
        ``upsample.upsampled_windows``."""
        down, across = (
            interpolation_matrix(
                low_res.shape[1 + axis], [(to[axis], kept[axis]) for to, kept in embedding.steps], self.device
            )
            for axis in (0, 1)
        )
        yield from upsampled_windows(down, across, low_res, floor)

    @torch.inference_mode()
    def logits(self, embedding: HfEmbedding, low_res: Tensor) -> Tensor:
        """Upsample mask logits to the image, as the processor's ``post_process_masks`` before its threshold.

        Args:
            embedding: of the image.
            low_res: float32 (n, M, h, w) from ``decode_boxes``, or (n, h, w) after selecting one of the M.

        Returns:
            float32 (n, M, H, W) or (n, H, W) on the device of the model: 4 bytes per pixel and mask.
        """
        return upsampled(low_res, embedding.steps)

    def _scaled(self, embedding: HfEmbedding, points: np.ndarray) -> Tensor:
        """Points (..., 2) x y of the image in the resized image, float32, scaled as by the processor."""
        (h, w), (height, width) = embedding.input_size, embedding.original_size
        return torch.from_numpy(points * (w / width, h / height)).float().to(self.device)

    def _decode_plainly(self, features: dict[str, Any], prompts: dict[str, Tensor], multimask: bool) -> BoxMasks:
        out = self.model(**features, **prompts, multimask_output=multimask)
        return BoxMasks(out.pred_masks[0], out.iou_scores[0])


class _LevelsInOrder:
    """SAM-HQ's decoder with its three masks in the order of their levels.

    transformers sorts them by descending predicted IoU; the output of the IoU head has the original order.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._iou = torch.empty(0)
        model.mask_decoder.iou_prediction_head.register_forward_hook(self._remember)  # type: ignore[union-attr]

    def _remember(self, _module: nn.Module, _arguments: Any, iou: Tensor) -> None:
        self._iou = iou[0]

    def __call__(self, features: dict[str, Any], prompts: dict[str, Tensor], multimask: bool) -> BoxMasks:
        out = self._model(**features, **prompts, multimask_output=multimask)
        masks, iou = out.pred_masks[0], out.iou_scores[0]
        if multimask:
            iou = self._iou[:, 1:]
            rank = iou.sort(dim=1, descending=True).indices.argsort(dim=1)
            masks = masks.gather(1, rank[..., None, None].expand_as(masks))
        return BoxMasks(masks, iou)


def _float32(found: Any) -> Any:
    """Tensors in nested lists and tuples as float32."""
    if isinstance(found, Tensor):
        return found.float()
    return type(found)(_float32(part) for part in found)


def load_hf_masks(name: str, device: str | torch.device = "cpu", precision: str = "fp32") -> HfMasks:
    """Load a mask model of transformers.

    Args:
        name: a folder as ``save_pretrained`` writes it, or a repository of the hub, ``OWNER/NAME``.
        device: device of the model.
        precision: precision of the image encoder.

    Raises:
        WsssError: no such model, a model of another kind, or weights that do not fit.
    """
    folder = folder_of(name)
    kind = kind_of(folder)
    if kind == "sam3":
        raise CheckpointError(
            f"{name}: contains only SAM 3's detector for texts; use it with `backend` sam3, or give a repository that "
            "includes the tracker, such as facebook/sam3"
        )
    if kind not in KINDS:
        raise unfit(name, kind, "one that segments boxes", KINDS)
    model, processor = load(name, folder, *KINDS[kind])
    return HfMasks(model, processor, name, device, precision)
