"""Mask proposals: class-agnostic masks of a whole image from SAM, with their levels.

Sources: segment-anything's automatic mask generation (arXiv 2304.02643), with the levels' bonuses and the filter across
levels of FMA-WSSS (arXiv 2312.03585) as in its released code.

SAM is prompted with a grid of points, on the image and on crops of it, and decodes three masks per point, the levels
sub-part, part and whole. Filters follow, and their order matters: predicted IoU, stability score, crop edges, NMS
within a crop, NMS between crops, filling of holes and removal of islands, another NMS, overlap between levels.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as rle
from torchvision.ops import nms

from ..config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from ..models.sam import build_point_grid, generate_crop_boxes, is_box_near_crop_edge
from .regions import fill_and_clean
from .store import Proposals, ProposalStore

if TYPE_CHECKING:
    from ..models.masks import MaskModel, PointMasks

log = logging.getLogger(__name__)

LEVELS = 3


@dataclass(frozen=True)
class ProposalSettings:
    """Automatic mask generation, with segment_anything's names where it has the setting; the defaults are those of the
    original.

    Attributes:
        points_per_side: points per side of the grid on the whole image.
        crop_n_layers: layers of crops; layer i has 2**i crops per side.
        crop_n_points_downscale_factor: factor by which points per side decrease from layer to layer.
        crop_overlap_ratio: overlap of the crops of the first layer, as a share of the shorter side of the image.
        pred_iou_thresh: lowest predicted IoU of a mask, after adding ``score_thresh_offset``.
        score_thresh_offset: added to the predicted IoU of sub-part, part and whole before ``pred_iou_thresh``.
        stability_score_thresh: lowest stability score: the IoU of a mask binarised at a high and at a low logit.
        stability_score_offset: distance of these two logits from 0.
        box_nms_thresh: box IoU above which non-maximum suppression removes a mask.
        score_nms_offset: added to the predicted IoU of sub-part, part and whole to rank masks in NMS.
        crop_nms_thresh: box IoU of the NMS between crops, where masks of smaller crops rank first.
        min_mask_region_area: pixels below which holes are filled and islands removed; 0 leaves masks as they are.
        level_overlap_thresh: share of a mask inside a single mask of a higher level from which it is removed; 0 keeps
            all.
    """

    points_per_side: PositiveInt = 32
    crop_n_layers: NonNegativeInt = 1
    crop_n_points_downscale_factor: PositiveInt = 2
    crop_overlap_ratio: UnitInterval = 512 / 1500
    pred_iou_thresh: UnitInterval = 0.86
    score_thresh_offset: tuple[UnitInterval, ...] = (0.0, 0.0, 0.1)
    stability_score_thresh: UnitInterval = 0.92
    stability_score_offset: NonNegativeFloat = 1.0
    box_nms_thresh: UnitInterval = 0.7
    score_nms_offset: tuple[NonNegativeFloat, ...] = (0.0, 0.0, 1.0)
    crop_nms_thresh: UnitInterval = 0.7
    min_mask_region_area: NonNegativeInt = 100
    level_overlap_thresh: UnitInterval = 0.3


class _PackedMask(NamedTuple):
    """A mask cropped to its box and compressed: up to a thousand of them are in memory at a time."""

    top: int
    left: int
    shape: tuple[int, int]
    packed: bytes

    def decode(self, size: tuple[int, int]) -> np.ndarray:
        """The mask as uint8 (H, W) in Fortran order, as COCO's RLE needs it."""
        out = np.zeros(size, np.uint8, order="F")
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        pixels = np.unpackbits(bits, count=height * width).reshape(height, width)
        out[self.top : self.top + height, self.left : self.left + width] = pixels
        return out


@dataclass(frozen=True)
class _CropMasks:
    """Masks of a crop that passed the filters so far, in coordinates of the crop."""

    level: np.ndarray
    iou: np.ndarray
    stability: np.ndarray
    point: np.ndarray
    box: np.ndarray
    masks: list[_PackedMask]

    def take(self, which: np.ndarray) -> _CropMasks:
        return _CropMasks(
            self.level[which],
            self.iou[which],
            self.stability[which],
            self.point[which],
            self.box[which],
            [self.masks[i] for i in which],
        )


@torch.inference_mode()
def generate_proposals(sam: MaskModel, image: np.ndarray, settings: ProposalSettings | None = None) -> Proposals:
    """The mask proposals of an image.

    Args:
        sam: the model.
        image: uint8 (H, W, 3) RGB at its original size.
        settings: settings of the grid and the filters.

    Returns:
        Proposals ordered from whole to sub-part, within a level those that were not changed by
        ``postprocess_small_regions`` first. Empty if no mask passes the filters.
    """
    settings = settings or ProposalSettings()
    size = (image.shape[0], image.shape[1])
    crops, layers = generate_crop_boxes(size, settings.crop_n_layers, settings.crop_overlap_ratio)
    parts = []
    for crop, layer in zip(crops, layers, strict=True):
        x0, y0, x1, y1 = crop
        if x1 <= x0 or y1 <= y0:  # images of a pixel or two have empty crops
            continue
        found = _process_crop(sam, image[y0:y1, x0:x1], crop, layer, size, settings)
        parts.append(_to_image(found, crop, size))
    proposals = _concatenate_proposals(parts, size)
    if len(crops) > 1:
        proposals = nms_between_crops(proposals, settings.crop_nms_thresh)
    if settings.min_mask_region_area:
        proposals = postprocess_small_regions(
            proposals, settings.min_mask_region_area, max(settings.box_nms_thresh, settings.crop_nms_thresh)
        )
    return (
        suppress_across_levels(proposals, settings.level_overlap_thresh) if settings.level_overlap_thresh else proposals
    )


def _process_crop(
    sam: MaskModel,
    pixels: np.ndarray,
    crop: Sequence[int],
    layer: int,
    size: tuple[int, int],
    settings: ProposalSettings,
) -> _CropMasks:
    """The masks of one crop after NMS, highest score first."""
    grid = build_point_grid(max(1, int(settings.points_per_side / settings.crop_n_points_downscale_factor**layer)))
    points = grid * (pixels.shape[1], pixels.shape[0])
    embedding = sam.embed(pixels)
    batches: list[_CropMasks] = []
    for decoded in sam.decode_points(embedding, points):
        batches += _process_points(sam, embedding, decoded, points[: len(decoded.iou)], settings)
        points = points[len(decoded.iou) :]
    found = _concatenate_masks(batches)
    size_box = [0, 0, size[1], size[0]]
    inside = ~is_box_near_crop_edge(torch.from_numpy(found.box), list(crop), size_box).numpy()
    found = found.take(np.flatnonzero(inside))
    offsets = np.array(settings.score_nms_offset, np.float32)
    return found.take(box_nms(found.box, found.iou + offsets[found.level], settings.box_nms_thresh))


def above_iou_thresh(iou: torch.Tensor, settings: ProposalSettings) -> torch.Tensor:
    """Masks whose predicted IoU float32 (n, 3), plus the offset of its level, is high enough: bool (n, 3)."""
    return (
        iou + torch.tensor(settings.score_thresh_offset, dtype=iou.dtype, device=iou.device) > settings.pred_iou_thresh
    )


def _process_points(
    sam: MaskModel, embedding: Any, decoded: PointMasks, points: np.ndarray, settings: ProposalSettings
) -> Iterator[_CropMasks]:
    """Masks of n points (n, 2) with sufficient predicted IoU and stability, point by point."""
    chosen = above_iou_thresh(decoded.iou, settings)
    of_point, level = (x.cpu().numpy() for x in torch.nonzero(chosen, as_tuple=True))
    iou = decoded.iou[chosen].cpu().numpy()
    offset = settings.stability_score_offset
    for window in sam.upsampled_windows(embedding, decoded.low_res(chosen), -offset):
        stability = stability_scores(window.logits, offset)
        masks = window.logits > 0
        keep = (stability >= settings.stability_score_thresh) & masks.flatten(1).any(1)
        indices = window.which[keep].cpu().numpy()
        cropped, boxes = _crop_to_boxes(masks[keep].cpu().numpy(), window.top, window.left)
        # A copy: torch's small blocks, kept while masks of megabytes are freed, would fragment the heap.
        stable = stability[keep].cpu().numpy().copy()
        yield _CropMasks(level[indices], iou[indices], stable, points[of_point[indices]], boxes, cropped)


def stability_scores(logits: torch.Tensor, offset: float) -> torch.Tensor:
    """Stability scores of logits (n, h, w): float32 (n,), NaN where no logit is above ``-offset``.

    The IoU of a mask binarised at ``offset`` and at ``-offset``; as the first lies inside the second, it is the ratio
    of their areas.
    """
    high, low = ((logits > threshold).flatten(1).sum(1, dtype=torch.int32) for threshold in (offset, -offset))
    return high / low


def box_nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Greedy NMS on boxes (n, 4): indices of the boxes kept, in descending order of score, the earlier one in a tie."""
    kept = nms(
        torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(np.ascontiguousarray(scores, np.float32)), iou
    )
    result: np.ndarray = kept.numpy()
    return result


def nms_between_crops(proposals: Proposals, iou: float) -> Proposals:
    """NMS between crops, where masks of smaller crops rank first."""
    sides = (proposals.crop[:, 2:] - proposals.crop[:, :2]).astype(np.float32)
    return proposals.take(box_nms(mask_boxes(proposals.masks), 1 / (sides[:, 0] * sides[:, 1]), iou))


def postprocess_small_regions(proposals: Proposals, min_area: int, iou: float) -> Proposals:
    """Fill small holes, remove small islands, and apply NMS again, where unchanged masks rank first. Stability
    and predicted IoU remain those of the original mask."""
    masks, changed = [], []
    for mask in proposals.masks:
        before = rle.decode(mask).astype(bool)
        after = fill_and_clean(before, min_area)
        # A mask whose islands are all small counts as changed even if it is a single island, which is kept.
        changed.append(int(after.sum()) < min_area or not np.array_equal(after, before))
        masks.append(rle.encode(np.asfortranarray(after, np.uint8)) if changed[-1] else mask)
    area = np.array([rle.area(mask) for mask in masks], np.int64)
    return replace(proposals, masks=tuple(masks), area=area).take(
        box_nms(mask_boxes(masks), 1 - np.array(changed, np.float32), iou)
    )


def suppress_across_levels(proposals: Proposals, overlap: float) -> Proposals:
    """Remove masks that lie inside masks of a higher level.

    From the highest level down, a mask is kept if less than ``overlap`` of it lies inside any single mask kept from
    the levels above; masks of the same level are not compared.
    """
    kept: list[int] = []
    for level in reversed(range(LEVELS)):
        here = np.flatnonzero(proposals.level == level)
        above = [proposals.masks[i] for i in kept]
        if len(here) and above:
            # For crowds, COCO's IoU is the intersection over the area of the first mask.
            covered = rle.iou([proposals.masks[i] for i in here], above, [1] * len(above))
            here = here[np.asarray(covered).max(1) < overlap]
        kept.extend(here)
    return proposals.take(kept)


def mask_boxes(masks: Sequence[dict[str, Any]]) -> np.ndarray:
    """Bounding boxes of masks: int64 (n, 4) x0 y0 x1 y1, the last two inclusive."""
    if not masks:
        return np.zeros((0, 4), np.int64)
    boxes = np.asarray(rle.toBbox(list(masks))).astype(np.int64)
    boxes[:, 2:] += boxes[:, :2] - 1
    return boxes


def _crop_to_boxes(masks: np.ndarray, top: int, left: int) -> tuple[list[_PackedMask], np.ndarray]:
    """Non-empty masks bool (k, h, w) cropped to their boxes, and the boxes int64 (k, 4), the last two inclusive."""
    rows, columns = np.asarray(masks.any(2)), np.asarray(masks.any(1))
    y0, x0 = rows.argmax(1), columns.argmax(1)
    y1 = rows.shape[1] - rows[:, ::-1].argmax(1)
    x1 = columns.shape[1] - columns[:, ::-1].argmax(1)
    packed = [
        _PackedMask(top + a, left + c, (b - a, d - c), zlib.compress(np.packbits(mask[a:b, c:d]).data, 1))
        for mask, a, b, c, d in zip(masks, *(x.tolist() for x in (y0, y1, x0, x1)), strict=True)
    ]
    return packed, np.stack([left + x0, top + y0, left + x1 - 1, top + y1 - 1], 1).astype(np.int64)


def _concatenate_masks(parts: Sequence[_CropMasks]) -> _CropMasks:
    none = np.zeros(0, np.float32)
    parts = [_CropMasks(np.zeros(0, np.int64), none, none, np.zeros((0, 2)), np.zeros((0, 4), np.int64), []), *parts]
    return _CropMasks(
        np.concatenate([part.level for part in parts]),
        np.concatenate([part.iou for part in parts]),
        np.concatenate([part.stability for part in parts]),
        np.concatenate([part.point for part in parts]),
        np.concatenate([part.box for part in parts]),
        [mask for part in parts for mask in part.masks],
    )


def _to_image(found: _CropMasks, crop: Sequence[int], size: tuple[int, int]) -> Proposals:
    """Masks of a crop as proposals of the image."""
    x0, y0, _, _ = crop
    masks = [
        rle.encode(_PackedMask(mask.top + y0, mask.left + x0, mask.shape, mask.packed).decode(size))
        for mask in found.masks
    ]
    return Proposals(
        size,
        tuple(masks),
        found.level.astype(np.int8),
        found.iou,
        found.stability,
        np.array([rle.area(mask) for mask in masks], np.int64),
        (found.point + np.array([x0, y0])).astype(np.float32),
        np.tile(np.array(crop, np.int32), (len(masks), 1)),
    )


def _concatenate_proposals(parts: Sequence[Proposals], size: tuple[int, int]) -> Proposals:
    arrays = ("level", "predicted_iou", "stability", "area", "point", "crop")
    return Proposals(
        size,
        tuple(mask for part in parts for mask in part.masks),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in arrays),
    )


def proposal_store(folder: Path, weights: str, settings: ProposalSettings) -> ProposalStore:
    """Store of the proposals of a SAM with these settings; ``weights`` identifies the SAM and its precision."""
    return ProposalStore(folder, asdict(settings), weights)


def load_or_generate(
    sam: Callable[[], MaskModel], image: np.ndarray, settings: ProposalSettings, store: ProposalStore
) -> Proposals:
    """The mask proposals of an image: read from the store, else generated with ``sam()`` and stored.

    A store that cannot be written to is not an error: proposals are then generated again next time.
    """
    path = store.path(image)
    found = store.read(path, (image.shape[0], image.shape[1]))
    if found is None:
        found = generate_proposals(sam(), image, settings)
        try:
            store.write(path, found)
        except OSError as error:
            log.warning("%s: mask proposals cannot be stored (%s)", store.folder, error.strerror or error)
    else:
        log.debug("mask proposals from %s", path)
    return found
