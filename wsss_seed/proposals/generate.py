"""Mask proposals: class-agnostic masks of a whole image from SAM, with their levels.

Sources: segment-anything's automatic mask generation (arXiv 2304.02643), with the levels' bonuses and the filter across
levels of FMA-WSSS (arXiv 2312.03585) as in its released code.

SAM is prompted with a grid of points, on the image and on crops of it, and decodes three masks per point, the levels
sub-part, part and whole. Filters follow, and their order matters: predicted IoU, stability score, crop edges, NMS
within a crop, NMS between crops, filling of holes and removal of islands, another NMS, overlap between levels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torchvision.ops import nms

from ..config import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from ..models.precision import AdaptiveBatch
from ..models.sam import build_point_grid, generate_crop_boxes, is_box_near_crop_edge
from .regions import fill_and_clean
from .runs import changes, encoded, window_boxes
from .store import Proposals, ProposalStore

if TYPE_CHECKING:
    from ..models.masks import MaskModel, PointMasks

log = logging.getLogger(__name__)

LEVELS = 3
_FIRST_ROWS = 1024


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


class _Candidates(NamedTuple):
    """Masks of a crop that passed the filters so far, on the device of the model.

    Attributes:
        level: int64 (n,).
        iou, stability: float32 (n,).
        point: float64 (n, 2) x y in the crop.
        box: int64 (n, 4) in the crop, the last two inclusive.
        counts: int64 (n,), how many of ``changes`` each mask has.
        changes: int32 (N,) pixels of the image, see ``runs.changes``.
    """

    level: Tensor
    iou: Tensor
    stability: Tensor
    point: Tensor
    box: Tensor
    counts: Tensor
    changes: Tensor


class _Rows:
    """A tensor to which rows are appended, in memory that doubles when it is full.

    Between masks of megabytes that come and go, a small tensor kept for each of them would fragment the heap: gigabytes
    on a large photograph.
    """

    def __init__(self) -> None:
        self._data: Tensor | None = None
        self._count = 0

    def append(self, rows: Tensor) -> None:
        end = self._count + len(rows)
        if self._data is None or end > len(self._data):
            grown = rows.new_empty(max(2 * end, _FIRST_ROWS), *rows.shape[1:])
            if self._data is not None:
                grown[: self._count] = self._data[: self._count]
            self._data = grown
        self._data[self._count : end] = rows
        self._count = end

    def tensor(self, empty: Tensor) -> Tensor:
        """The rows; ``empty`` if there are none."""
        return empty if self._data is None else self._data[: self._count].clone()


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
        parts.append(_process_crop(sam, image[y0:y1, x0:x1], crop, layer, size, settings))
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
) -> Proposals:
    """The masks of one crop after NMS, highest score first."""
    grid = build_point_grid(max(1, int(settings.points_per_side / settings.crop_n_points_downscale_factor**layer)))
    points = grid * (pixels.shape[1], pixels.shape[0])
    embedding = sam.embed(pixels)
    batches: list[_Candidates] = []
    memory = AdaptiveBatch("masks of proposals")
    for decoded in sam.decode_points(embedding, points):
        batches += _process_points(sam, embedding, decoded, points[: len(decoded.iou)], crop, size, settings, memory)
        points = points[len(decoded.iou) :]
    if not batches:
        return _no_proposals(size)
    found = _Candidates(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    inside = torch.nonzero(~is_box_near_crop_edge(found.box, list(crop), [0, 0, size[1], size[0]]))[:, 0]
    offsets = torch.tensor(settings.score_nms_offset, dtype=found.iou.dtype, device=found.iou.device)
    scores = (found.iou + offsets[found.level])[inside]
    return _to_proposals(found, inside[nms(found.box[inside].float(), scores, settings.box_nms_thresh)], crop, size)


def above_iou_thresh(iou: torch.Tensor, settings: ProposalSettings) -> torch.Tensor:
    """Masks whose predicted IoU float32 (n, 3), plus the offset of its level, is high enough: bool (n, 3)."""
    return (
        iou + torch.tensor(settings.score_thresh_offset, dtype=iou.dtype, device=iou.device) > settings.pred_iou_thresh
    )


def _process_points(
    sam: MaskModel,
    embedding: Any,
    decoded: PointMasks,
    points: np.ndarray,
    crop: Sequence[int],
    size: tuple[int, int],
    settings: ProposalSettings,
    memory: AdaptiveBatch,
) -> list[_Candidates]:
    """Masks of n points (n, 2) with sufficient predicted IoU and stability, point by point.

    The host waits for the device a few times per batch and window, not per mask.
    """
    chosen = above_iou_thresh(decoded.iou, settings)
    of_point, level = torch.nonzero(chosen, as_tuple=True)
    iou, point = decoded.iou[of_point, level], torch.from_numpy(points).to(level.device)[of_point]
    low_res, offset = decoded.low_res(chosen), settings.stability_score_offset

    def measure(part: Tensor) -> _Candidates:
        found = [_Rows() for _ in _Candidates._fields]
        for window in sam.upsampled_windows(embedding, low_res[part], -offset):
            stability, masks = stability_scores(window.logits, offset), window.logits > 0
            enough = (stability >= settings.stability_score_thresh) & masks.flatten(1).any(1)
            keep = torch.nonzero(enough)[:, 0]
            which, masks = part[window.which[keep]], masks[keep]
            at, count = changes(masks, crop[1] + window.top, crop[0] + window.left, size[0])
            box = window_boxes(masks, window.top, window.left)
            passed = _Candidates(level[which], iou[which], stability[keep], point[which], box, count, at)
            for rows, new in zip(found, passed, strict=True):
                rows.append(new)
        none = torch.zeros(0, dtype=torch.int64, device=part.device)
        empty = _Candidates(level[none], iou[none], iou[none], point[none], none.view(0, 4), none, none.int())
        return _Candidates(*(rows.tensor(nothing) for rows, nothing in zip(found, empty, strict=True)))

    every = torch.arange(len(low_res), device=low_res.device)
    return list(memory.map(measure, every, max(1, len(every))))


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


def _to_proposals(found: _Candidates, which: Tensor, crop: Sequence[int], size: tuple[int, int]) -> Proposals:
    """Proposals of the image from a selection (k,) of the masks of a crop, in its order."""
    kept = torch.zeros_like(found.level, dtype=torch.bool)
    kept[which] = True
    at = found.changes[kept.repeat_interleave(found.counts, output_size=len(found.changes))].cpu().numpy()
    level, iou, stability, point, count, order = (
        x.cpu().numpy()
        for x in (*(x[which] for x in (found.level, found.iou, found.stability, found.point, found.counts)), which)
    )
    # The changes are in the order in which the masks were found.
    rank = order.argsort()
    starts = np.zeros_like(count)
    starts[rank] = np.cumsum(count[rank]) - count[rank]
    masks = tuple(encoded(at[i : i + n], size) for i, n in zip(starts.tolist(), count.tolist(), strict=True))
    return Proposals(
        size,
        masks,
        level.astype(np.int8),
        iou,
        stability,
        np.array([rle.area(mask) for mask in masks], np.int64),
        (point + np.array(crop[:2])).astype(np.float32),
        np.tile(np.array(crop, np.int32), (len(masks), 1)),
    )


def _no_proposals(size: tuple[int, int]) -> Proposals:
    none = np.zeros(0, np.float32)
    return Proposals(
        size,
        (),
        np.zeros(0, np.int8),
        none,
        none,
        np.zeros(0, np.int64),
        np.zeros((0, 2), np.float32),
        np.zeros((0, 4), np.int32),
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
