"""Segment Anything through segment_anything: an image is encoded once, then decoded for boxes and points."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from segment_anything import modeling, sam_model_registry

# For automatic mask generation: nothing outside this package imports segment_anything.
from segment_anything.utils.amg import build_point_grid as build_point_grid
from segment_anything.utils.amg import generate_crop_boxes as generate_crop_boxes
from segment_anything.utils.amg import is_box_near_crop_edge as is_box_near_crop_edge
from segment_anything.utils.transforms import ResizeLongestSide

from ..errors import CheckpointError, WsssError, one_line
from .masks import BoxMasks, checked_prompt
from .merging import merged
from .precision import IMAGES, AdaptiveBatch, computing, store_half, with_memory
from .sam_attention import fuse_attention
from .sam_points import PointDecoder, SamPointMasks
from .upsample import Steps, Window, interpolation_matrix, upsampled, upsampled_windows
from .weight_files import UNREADABLE, check_sizes

_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


@dataclass(frozen=True)
class Embedding:
    """An encoded image.

    Attributes:
        features: float32 (1, C, h, w) on the device of the model.
        side: side of the model's square input.
        input_size: height and width of the resized image, without padding.
        original_size: height and width of the image.
    """

    features: torch.Tensor
    side: int
    input_size: tuple[int, int]
    original_size: tuple[int, int]

    @property
    def steps(self) -> Steps:
        """Steps of upsampling from the decoder's grid to the image: to the padded square, cropped to the resized image,
        and to the original size, as in SamPredictor."""
        return [((self.side, self.side), self.input_size), (self.original_size, self.original_size)]


class Sam:
    """A frozen Segment Anything on one device.

    Attributes:
        name: what it was loaded from.
        model: segment_anything's model in evaluation mode; float32, but the image encoder's weights in ``precision``.
        device: device of the model.
        precision: precision of the image encoder: ``fp32``, ``bf16`` or ``fp16``; decoding is float32.
    """

    def __init__(
        self, model: modeling.Sam, name: str = "sam", device: str | torch.device = "cpu", precision: str = "fp32"
    ):
        self.name = name
        self.device = torch.device(device)
        self.precision = precision
        self.model = model.float().eval().requires_grad_(False)
        store_half(self.model.image_encoder, precision)
        self.model.to(self.device)
        fuse_attention(self.model.image_encoder)
        self._images = AdaptiveBatch("images for SAM")
        self._boxes, self._points = AdaptiveBatch("boxes for SAM"), AdaptiveBatch("points for SAM")

    @torch.inference_mode()
    def embed(self, image: np.ndarray) -> Embedding:
        """Encode an image, the expensive step, once for all prompts.

        The image is resized bilinearly with PIL to the longest side of the model, normalised, and padded with zeros at
        the bottom and right, as in SamPredictor.

        Args:
            image: uint8 (H, W, 3) RGB, of any size and shape.
        """
        h, w = image.shape[:2]
        scaled = ResizeLongestSide.get_preprocess_shape(h, w, self.model.image_encoder.img_size)
        height, width = (max(side, 1) for side in scaled)  # a very thin image would vanish
        small = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        return Embedding(self._encode(small), self.model.image_encoder.img_size, (height, width), (h, w))

    def encode_singly(self) -> None:
        """Encode one image at a time from now on, as a compiled encoder is compiled anew for every size of a batch."""
        self._images.limit = 1

    @merged
    @torch.inference_mode()
    def _encode(self, images: list[np.ndarray]) -> list[torch.Tensor]:
        """Features float32 (1, C, h, w) of each resized image, uint8 (H, W, 3)."""

        def encode(some: list[np.ndarray]) -> torch.Tensor:
            pixels = (torch.from_numpy(image).to(self.device).permute(2, 0, 1).contiguous()[None] for image in some)
            inputs = torch.cat([self.model.preprocess(image) for image in pixels])
            features: torch.Tensor = with_memory(lambda: self.model.image_encoder(inputs))
            return features.float()

        with computing(self.device, self.precision):
            found = torch.cat(list(self._images.map(encode, images, IMAGES[self.device.type])))
        return [features[None] for features in found]

    @torch.inference_mode()
    def decode_boxes(
        self, embedding: Embedding, boxes: np.ndarray, *, multimask: bool = False, chunk: int = 64
    ) -> BoxMasks:
        """Masks of boxes on the decoder's grid, to be upsampled by ``logits``.

        Args:
            embedding: of the image.
            boxes: float (n, 4) x0 y0 x1 y1 in pixels of the original image.
            multimask: False for the mask (M = 1) of the decoder's single-mask token; True for sub-part, part and whole
                (M = 3), in this order.
            chunk: boxes decoded together, fewer if memory runs out.
        """
        (h, w), (height, width) = embedding.input_size, embedding.original_size
        boxes = np.asarray(boxes, float).reshape(-1, 4) * (np.array([w / width, h / height] * 2))
        masks = 3 if multimask else 1
        side = [4 * s for s in embedding.features.shape[-2:]]
        low_res = [torch.empty(0, masks, *side, device=self.device)]
        iou = [torch.empty(0, masks, device=self.device)]
        positions = self.model.prompt_encoder.get_dense_pe()

        def decode(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            sparse, dense = self.model.prompt_encoder(points=None, boxes=part, masks=None)
            result: tuple[torch.Tensor, torch.Tensor] = self.model.mask_decoder(
                image_embeddings=embedding.features,
                image_pe=positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
            return result

        for decoded in self._boxes.map(decode, torch.from_numpy(boxes).float().to(self.device), chunk):
            low_res.append(decoded[0])
            iou.append(decoded[1])
        return BoxMasks(torch.cat(low_res), torch.cat(iou))

    @torch.inference_mode()
    def decode_points(self, embedding: Embedding, points: np.ndarray, chunk: int = 64) -> Iterator[SamPointMasks]:
        """Decode points of an image independently, ``chunk`` at a time.

        Equals SamPredictor with ``multimask_output`` for each point, up to rounding. Predicted IoUs of three masks per
        point come first; logits are computed only for the masks that are then selected.

        Args:
            embedding: of the image.
            points: float (n, 2) x y in pixels of the original image.
            chunk: points decoded together, fewer on a CPU or if memory runs out.
        """
        (h, w), (height, width) = embedding.input_size, embedding.original_size
        scaled = torch.from_numpy(np.asarray(points, float).reshape(-1, 2) * (w / width, h / height)).to(self.device)
        decode = PointDecoder(self.model, embedding.features)
        yield from self._points.map(decode, scaled, min(chunk, decode.batch_size))

    @torch.inference_mode()
    def decode_prompt(
        self, embedding: Embedding, points: np.ndarray, positive: np.ndarray, box: np.ndarray | None = None
    ) -> BoxMasks:
        """Masks of one object that several points, a box or both indicate, as SamPredictor decodes them together.

        A single point can mean a sub-part, a part or the whole (M = 3, in this order); for anything else there is the
        mask of the decoder's single-mask token (M = 1), as segment-anything recommends.

        Args:
            embedding: of the image.
            points: float (n, 2) x y in pixels of the original image.
            positive: bool (n,), whether a point is on the object; the others are beside it.
            box: float (4,) x0 y0 x1 y1 in pixels of the original image.

        Raises ValueError without points and box.
        """
        points, positive = checked_prompt(points, positive, box)
        (h, w), (height, width) = embedding.input_size, embedding.original_size
        scale = np.array([w / width, h / height])
        coords = torch.from_numpy(points * scale).float().to(self.device)[None]
        labels = torch.from_numpy(positive.astype(np.int64)).to(self.device)[None]
        corners = None if box is None else np.asarray(box, float).reshape(1, 4) * np.tile(scale, 2)
        sparse, dense = self.model.prompt_encoder(
            points=(coords, labels) if len(points) else None,
            boxes=None if corners is None else torch.from_numpy(corners).float().to(self.device),
            masks=None,
        )
        low_res, iou = self.model.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=len(points) == 1 and box is None,
        )
        return BoxMasks(low_res, iou)

    @torch.inference_mode()
    def upsampled_windows(self, embedding: Embedding, low_res: torch.Tensor, floor: float) -> Iterator[Window]:
        """Upsample mask logits as ``logits`` does, but only where they can be above a floor; see
        ``upsample.upsampled_windows``.

        Args:
            embedding: of the image.
            low_res: float32 (n, h, w) from ``SamPointMasks.low_res``.
            floor: a logit.

        Yields:
            Windows that together contain every mask once, except masks that are nowhere above the floor.
        """
        down, across = (self._interpolation_matrix(embedding, axis) for axis in (0, 1))
        yield from upsampled_windows(down, across, low_res, floor)

    def _interpolation_matrix(self, embedding: Embedding, axis: int) -> torch.Tensor:
        """Interpolation weights float32 (H, h) from the decoder's grid to the image: ``postprocess_masks`` along one
        axis."""
        steps = [(to[axis], kept[axis]) for to, kept in embedding.steps]
        return interpolation_matrix(4 * embedding.features.shape[2 + axis], steps, self.device)

    @torch.inference_mode()
    def logits(self, embedding: Embedding, low_res: torch.Tensor) -> torch.Tensor:
        """Upsample mask logits to the image as in SamPredictor: bilinearly to the padded square, cropped to the image,
        bilinearly to its original size.

        Args:
            embedding: of the image.
            low_res: float32 (n, M, h, w) from ``decode_boxes``, or (n, h, w) after selecting one of the M.

        Returns:
            float32 (n, M, H, W) or (n, H, W) on the device of the model: 4 bytes per pixel and mask, so pass only a few
            masks at a time for very large images.
        """
        return upsampled(low_res, embedding.steps)


def build_sam(config: Mapping[str, Any]) -> modeling.Sam:
    """A segment_anything model with random weights from a configuration: the arguments of its ``image_encoder``,
    ``prompt_encoder``, ``transformer`` and ``mask_decoder``, and ``pixel_mean`` and ``pixel_std``."""
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(norm_layer=norm, **config["image_encoder"]),
        prompt_encoder=modeling.PromptEncoder(**config["prompt_encoder"]),
        mask_decoder=modeling.MaskDecoder(
            transformer=modeling.TwoWayTransformer(**config["transformer"]), **config["mask_decoder"]
        ),
        pixel_mean=config["pixel_mean"],
        pixel_std=config["pixel_std"],
    )


def load_sam(spec: str | Path, device: str | torch.device = "cpu", precision: str = "fp32") -> Sam:
    """Load a model.

    Args:
        spec: a folder with ``sam.json`` (see ``build_sam``) and ``sam.safetensors`` (any float precision), or a
            checkpoint of segment_anything's ViT-B, ViT-L or ViT-H (such as ``sam_vit_b_01ec64.pth``), which are
            distinguished by their weights.
        device: device of the model.
        precision: precision of the image encoder.

    Raises:
        WsssError: weights that are missing, damaged, of another model, or contain more than plain tensors (nothing but
            tensors is ever unpickled).
    """
    path = Path(spec)
    model = _read_folder(path) if path.is_dir() else _read_checkpoint(path)
    return Sam(model, str(spec), device, precision)


def _read_folder(folder: Path) -> modeling.Sam:
    config, weights = folder / "sam.json", folder / "sam.safetensors"
    try:
        values = json.loads(config.read_text("utf-8"))
        check_sizes(values, config, weights)
        model = build_sam(values)
    except WsssError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(f"{config}: not the configuration of a SAM model ({one_line(error)})") from None
    try:
        model.load_state_dict(load_file(weights))
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not the weights of {config} ({one_line(error)}); install it again") from None
    return model


def _read_checkpoint(path: Path) -> modeling.Sam:
    remedy = "download sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth again"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such SAM checkpoint; {remedy}")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: damaged, or contains more than plain tensors and was not opened; {remedy}"
        ) from None
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: damaged SAM checkpoint ({one_line(error)}); {remedy}") from None
    first = weights.get("image_encoder.pos_embed") if isinstance(weights, dict) else None
    name = _WIDTHS.get(first.shape[-1]) if isinstance(first, torch.Tensor) and first.ndim == 4 else None
    if name is None:
        raise CheckpointError(f"{path}: not a checkpoint of SAM ViT-B, ViT-L or ViT-H; {remedy}")
    model = sam_model_registry[name](checkpoint=None)
    try:
        model.load_state_dict(weights)
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: not the weights of SAM {name} ({one_line(error)}); {remedy}") from None
    return model
