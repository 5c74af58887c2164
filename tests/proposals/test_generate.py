"""The sieve of mask proposals, step by step, and against segment_anything's generator."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from segment_anything import SamAutomaticMaskGenerator

from tests.models.waits import Waits
from tests.rounding import FLIPPED, assert_same
from wsss_seed.data.toyland import draw
from wsss_seed.models import sam_points, upsample
from wsss_seed.models.sam import Window
from wsss_seed.proposals import generate
from wsss_seed.proposals.generate import (
    ProposalSettings,
    above_iou_thresh,
    box_nms,
    generate_proposals,
    mask_boxes,
    nms_between_crops,
    postprocess_small_regions,
    stability_scores,
    suppress_across_levels,
)
from wsss_seed.proposals.regions import fill_and_clean
from wsss_seed.proposals.store import Proposals

NONE = (0.0, 0.0, 0.0)
LIBRARY = ProposalSettings(
    crop_n_layers=0,
    pred_iou_thresh=0.88,
    score_thresh_offset=NONE,
    stability_score_thresh=0.95,
    score_nms_offset=NONE,
    min_mask_region_area=0,
    level_overlap_thresh=0.0,
)


def proposals(masks, levels=None, crops=None):
    masks = [np.asarray(m, bool) for m in masks]
    n, size = len(masks), masks[0].shape if masks else (10, 10)
    return Proposals(
        size,
        tuple(rle.encode(np.asfortranarray(m, np.uint8)) for m in masks),
        np.array(levels if levels is not None else [2] * n, np.int8),
        np.linspace(0.8, 0.9, n, dtype=np.float32),
        np.linspace(0.93, 0.99, n, dtype=np.float32),
        np.array([m.sum() for m in masks], np.int64),
        np.arange(2 * n, dtype=np.float32).reshape(n, 2) / 3,
        np.array(crops if crops is not None else [[0, 0, size[1], size[0]]] * n, np.int32).reshape(n, 4),
    )


def patch(y0, y1, x0, x1, size=(40, 40)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


class Says:
    """A decoder that answers every point of the first crop with the same masks, every other with nothing."""

    def __init__(self, logits, iou):
        self.logits, self.iou, self.crop = torch.as_tensor(logits).float(), torch.as_tensor(iou).float(), -1

    def embed(self, image):
        self.crop += 1
        return self.crop

    def decode_points(self, embedding, points):
        if embedding == 0:
            yield self

    def low_res(self, chosen):
        return self.logits[chosen]

    def upsampled_windows(self, embedding, low_res, floor):
        if len(low_res):
            yield Window(torch.arange(len(low_res)), 0, 0, low_res)


# the steps


@pytest.mark.parametrize(("inside", "kept"), [(15, False), (14, True)])
def test_d9_a_part_with_less_than_the_limit_inside_a_whole_is_kept(inside, kept):
    whole = patch(0, 10, 0, 10)
    part = np.zeros((40, 40), bool)
    part[0, :10] = part[1, : inside - 10] = True  # inside the whole
    part.reshape(-1)[800 : 800 + 50 - inside] = True  # outside of it
    assert (whole.sum(), part.sum(), (whole & part).sum()) == (100, 50, inside)
    out = suppress_across_levels(proposals([part, whole], [1, 2]), 0.3)
    assert out.level.tolist() == ([2, 1] if kept else [2])


def test_the_filter_takes_the_best_single_mask_not_the_union():
    """Two wholes cover a quarter of the part each."""
    wholes = [patch(0, 10, 0, 10), patch(30, 40, 0, 10)]
    part = patch(0, 40, 0, 10)
    assert len(suppress_across_levels(proposals([*wholes, part], [2, 2, 1]), 0.3)) == 3
    assert len(suppress_across_levels(proposals([*wholes, part], [2, 2, 1]), 0.25)) == 2


def test_the_filter_divides_by_the_candidates_area():
    """A whole inside a part is no reason against the part, a part inside a whole is."""
    small, large = patch(0, 5, 0, 5), patch(0, 20, 0, 20)
    assert suppress_across_levels(proposals([large, small], [1, 2]), 0.3).level.tolist() == [2, 1]
    assert suppress_across_levels(proposals([large, small], [2, 1]), 0.3).level.tolist() == [2]


def test_masks_of_one_level_are_not_compared_and_a_first_level_is_taken_whole():
    same = [patch(0, 10, 0, 10), patch(0, 10, 0, 11), patch(0, 10, 0, 12)]
    out = suppress_across_levels(proposals([*same, patch(0, 10, 0, 9)], [1, 1, 1, 0]), 0.3)
    assert out.level.tolist() == [1, 1, 1]
    out = suppress_across_levels(proposals(same, [0, 0, 0]), 0.3)
    np.testing.assert_array_equal(out.dense(), same)


def test_order_is_whole_part_subpart_and_inside_a_level_as_before():
    masks = [patch(0, 4, 5 * i, 5 * i + 4) for i in range(6)]
    given = proposals(masks, [0, 2, 1, 0, 2, 1])
    out = suppress_across_levels(given, 0.3)
    assert out.level.tolist() == [2, 2, 1, 1, 0, 0]
    np.testing.assert_array_equal(out.predicted_iou, given.predicted_iou[[1, 4, 2, 5, 0, 3]])


def test_whole_masks_need_less_predicted_iou():
    """0.76 for the level whole, strictly above 0.86 for the others."""
    iou = torch.tensor([[0.87, 0.77, 0.77], [0.86, 0.87, 0.75], [0.8, 0.86, 0.87]])
    want = [[True, False, True], [False, True, False], [False, False, True]]
    assert above_iou_thresh(iou, ProposalSettings()).tolist() == want


def test_stability_is_the_iou_of_the_mask_cut_high_and_low():
    logits = torch.full((3, 4, 5), -2.0)
    logits[0, :2] = 1.5
    logits[0, 2, :3] = 0.5
    logits[0, 3, 0] = -1.0  # not above -1
    logits[0, 3, 1] = 1.0  # not above 1, above -1
    logits[1] = 3
    got = stability_scores(logits, 1.0)
    assert got[0].item() == np.float32(10 / 14)
    assert got[1].item() == 1
    assert got[2].isnan()


def test_whole_masks_outrank_parts_and_keep_their_own_predicted_iou():
    """The bonus of the ranking is not stored, nor is that of the filter."""
    logits = np.full((1, 3, 60, 60), -5.0)
    logits[0, 0, 10:40, 10:40] = logits[0, 1, 10:40, 10:41] = logits[0, 2, 10:40, 10:42] = 5
    image = np.zeros((60, 60, 3), np.uint8)
    out = generate_proposals(Says(logits, [[0.99, 0.98, 0.8]]), image, ProposalSettings(points_per_side=1))
    assert out.level.tolist() == [2]
    assert out.predicted_iou.tolist() == [np.float32(0.8)]
    out = generate_proposals(
        Says(logits, [[0.99, 0.98, 0.8]]), image, replace(LIBRARY, points_per_side=1, pred_iou_thresh=0.5)
    )
    assert out.level.tolist() == [0]


def test_an_unstable_mask_neither_stays_nor_removes_another():
    logits = np.full((1, 3, 60, 60), -5.0)
    logits[0, 0, 10:40, 10:40] = 5
    logits[0, 2, 10:40, 10:42] = 0.5
    out = generate_proposals(
        Says(logits, [[0.9, 0.0, 0.9]]), np.zeros((60, 60, 3), np.uint8), ProposalSettings(points_per_side=1)
    )
    assert out.level.tolist() == [0]
    assert out.area.tolist() == [900]


def test_between_crops_the_smaller_crop_wins():
    a, b, c = patch(0, 20, 0, 20), patch(0, 20, 0, 21), patch(25, 35, 0, 10)
    crops = [[0, 0, 40, 40], [0, 0, 27, 27], [0, 0, 40, 40]]
    out = nms_between_crops(proposals([a, b, c], crops=crops), 0.7)
    np.testing.assert_array_equal(out.dense(), [b, c])
    assert out.crop.tolist() == [crops[1], crops[2]]


def test_equal_ranks_keep_the_earlier():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30], [0, 0, 10, 10]])
    assert box_nms(boxes, np.array([0.5, 0.5, 0.5, 0.5]), 0.7).tolist() == [0, 2]
    assert box_nms(boxes, np.array([0.5, 0.5, 0.9, 0.6]), 0.7).tolist() == [2, 3]
    assert box_nms(np.zeros((0, 4)), np.zeros(0), 0.7).tolist() == []


def test_repair_prefers_masks_that_needed_none():
    holed = patch(0, 30, 0, 30)
    holed[5:8, 5:8] = False
    clean = patch(0, 30, 0, 29)
    other = patch(0, 40, 31, 40)
    other[35:, 31:] = False
    other[38:, 38:] = True  # an island
    given = proposals([holed, other, clean])
    out = postprocess_small_regions(given, 100, 0.7)
    np.testing.assert_array_equal(out.dense(), [clean, fill_and_clean(other)])
    assert out.area.tolist() == [870, 315]
    np.testing.assert_array_equal(out.stability, given.stability[[2, 1]])
    np.testing.assert_array_equal(out.predicted_iou, given.predicted_iou[[2, 1]])


def test_a_mask_too_small_to_stay_stays_but_as_a_repaired_one():
    """The library says so of a mask that is one small island, although the repair leaves it as it is."""
    small, equal = patch(0, 9, 0, 9), patch(0, 9, 0, 9)
    large = patch(20, 40, 20, 40)
    out = postprocess_small_regions(proposals([small, equal, large]), 100, 0.7)
    np.testing.assert_array_equal(out.dense(), [large, small])


def test_boxes_end_at_the_last_pixel():
    masks = proposals([patch(3, 9, 5, 20), patch(0, 40, 0, 40), patch(7, 8, 9, 10)]).masks
    assert mask_boxes(masks).tolist() == [[5, 3, 19, 8], [0, 0, 39, 39], [9, 7, 9, 7]]


# whole images


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crop_n_layers": 1},
        {"points_per_side": 4, "crop_n_layers": 2},
        {"crop_n_layers": 1, "min_mask_region_area": 60},
        {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.6, "min_mask_region_area": 20},
    ],
)
@pytest.mark.parametrize("index", [0, 1])
def test_with_the_librarys_rules_the_librarys_masks(sam, index, options):
    """Same masks in the same order; logits differ by rounding, so a pixel may."""
    settings = replace(
        LIBRARY,
        **{
            "points_per_side": 5,
            "pred_iou_thresh": 0.7,
            "stability_score_thresh": 0.5,
            "stability_score_offset": 0.2,
            **options,
        },
    )
    image = draw(index, "test").image
    library = SamAutomaticMaskGenerator(
        sam.model,
        points_per_side=settings.points_per_side,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        stability_score_offset=settings.stability_score_offset,
        crop_n_layers=settings.crop_n_layers,
        crop_n_points_downscale_factor=settings.crop_n_points_downscale_factor,
        min_mask_region_area=settings.min_mask_region_area,
    )
    want = library.generate(image)
    got = generate_proposals(sam, image, settings)
    assert len(got) == len(want) > 0
    for mask, ours in zip(want, got.dense(), strict=True):
        assert (mask["segmentation"] != ours).mean() < FLIPPED
    assert_same(got.predicted_iou, [m["predicted_iou"] for m in want])
    np.testing.assert_allclose(got.stability, [m["stability_score"] for m in want], atol=1e-2)
    assert_same(got.point, [m["point_coords"][0] for m in want])


def test_record_and_mask_agree(sam):
    image = draw(3, "test").image
    out = generate_proposals(sam, image, replace(SMALL, crop_n_layers=1))
    dense = out.dense()
    assert len(out) > 0
    assert dense.shape == (len(out), *image.shape[:2])
    np.testing.assert_array_equal(dense.sum((1, 2)), out.area)
    assert set(out.level.tolist()) <= {0, 1, 2}
    parts = list(out.chunks(3 * image.shape[0] * image.shape[1]))
    assert max(len(part) for _, part in parts) == min(3, len(out))
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), dense)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 3), (30, 40)])
def test_any_size_gives_a_record(sam, size):
    image = np.full((*size, 3), 90, np.uint8)
    out = generate_proposals(
        sam, image, ProposalSettings(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    )
    assert out.size == size
    assert out.dense().shape == (len(out), *size)


def test_no_mask_good_enough_gives_an_empty_record(sam, tmp_path):
    image = draw(0, "test").image
    settings = ProposalSettings(points_per_side=4, stability_score_thresh=1.0, stability_score_offset=100.0)
    out = generate_proposals(sam, image, settings)
    assert len(out) == 0
    assert out.dense().shape == (0, *image.shape[:2])
    assert list(out.chunks()) == []
    again = Proposals.from_bytes(out.to_bytes())
    assert (again.size, len(again), again.crop.shape, again.point.shape) == (out.size, 0, (0, 4), (0, 2))


SMALL = ProposalSettings(
    points_per_side=4, crop_n_layers=0, pred_iou_thresh=0.5, stability_score_thresh=0.5, stability_score_offset=0.2
)


def same(a, b):
    assert a.masks == b.masks
    assert a.size == b.size
    for name in ("level", "predicted_iou", "stability", "area", "point", "crop"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype


def test_the_host_waits_for_the_device_a_few_times_per_batch_of_points_however_many_masks(sam, monkeypatch):
    for sizes in (upsample.WINDOW_PIXELS, sam_points._IMAGE_ELEMENTS, sam_points._MASK_ELEMENTS):
        monkeypatch.setitem(sizes, "cpu", sizes["cuda"])
    image = draw(0, "test").image
    rules = replace(SMALL, box_nms_thresh=1.0, min_mask_region_area=0, level_overlap_thresh=0.0)
    found, waits = [], []
    for points, stability in ((8, 0.96), (8, 0.0), (16, 0.0)):
        changed = replace(rules, points_per_side=points, stability_score_thresh=stability, pred_iou_thresh=0.0)
        with Waits() as mode:
            found.append(len(generate_proposals(sam, image, changed)))
        waits.append(mode.seen.total())
    few, many, four_batches = waits
    assert 0 < found[0] < found[1] - 50
    assert few == many
    assert (four_batches - many) / 3 <= 8


class Discs(Says):
    """A decoder that answers each crop with three discs, in a window that is smaller than the crop."""

    def embed(self, image):
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        discs = [radius - np.hypot(y - 30, x - 32) for radius in (4, 5, 9)]
        return torch.from_numpy(np.stack(discs)[None]).float()

    def decode_points(self, embedding, points):
        self.logits = embedding
        yield self

    def upsampled_windows(self, embedding, low_res, floor):
        yield Window(torch.arange(3), 20, 22, low_res[:, 20:50, 22:60])


def test_masks_of_crops_are_those_of_pycocotools():
    rules = replace(LIBRARY, points_per_side=1, crop_n_layers=1, stability_score_thresh=0.0, box_nms_thresh=1.0)
    sam = Discs(np.zeros((1, 3, 1, 1)), [[0.95, 0.96, 0.97]])
    found = generate_proposals(sam, np.zeros((90, 110, 3), np.uint8), replace(rules, crop_nms_thresh=1.0))
    assert len(found) == 3 * 5
    for mask, crop, dense in zip(found.masks, found.crop, found.dense(), strict=True):
        x, y = crop[0] + 32, crop[1] + 30
        assert dense[y, x]
        assert mask == rle.encode(np.asfortranarray(dense, np.uint8))
    assert set(found.area.tolist()) == {45, 69, 249}


@pytest.mark.parametrize("step", ["decoding", "upsampling"])
def test_masks_where_memory_is_short(sam, monkeypatch, caplog, step):
    image = draw(0, "test").image
    want = generate_proposals(sam, image, SMALL)
    seen = []

    def short(size):
        seen.append(size)
        if size > 2:
            raise torch.cuda.OutOfMemoryError("full")

    if step == "upsampling":
        plain = sam.upsampled_windows

        def windows(embedding, low_res, floor):
            short(len(low_res))
            return plain(embedding, low_res, floor)

        monkeypatch.setattr(sam, "upsampled_windows", windows)
    else:
        norm = sam.model.mask_decoder.output_upscaling[1]
        plain_norm = torch.nn.functional.layer_norm

        def layer_norm(x, shape, weight, *rest):
            if weight is norm.weight:
                short(len(x))
            return plain_norm(x, shape, weight, *rest)

        monkeypatch.setattr(torch.nn.functional, "layer_norm", layer_norm)
    got = generate_proposals(sam, image, SMALL)
    assert seen[0] > 2 >= seen[-1]
    assert len(got) == len(want) > 0
    assert ((got.dense() != want.dense()).mean((1, 2)) < FLIPPED).all()
    assert "out of memory with" in caplog.text


def test_import_needs_no_opencv():
    code = (
        "import sys, wsss_seed.proposals.generate; sys.exit(', '.join({'cv2', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_memory_for_a_large_photograph_is_bounded():
    """Hundreds of masks of 12 megapixels pass by; they must not fragment the heap."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_proposals", "--memory", "--points", "6", "--json"]
    out = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert json.loads(out)["grown_gib"] < 0.6


def test_rows_are_kept_in_order_while_their_memory_grows(monkeypatch):
    monkeypatch.setattr(generate, "_FIRST_ROWS", 3)
    rows, parts = generate._Rows(), [torch.rand(n, 2) for n in (0, 1, 2, 7, 0, 40)]
    for part in parts:
        rows.append(part)
    assert rows.tensor(torch.zeros(0, 2)).equal(torch.cat(parts))
    assert generate._Rows().tensor(torch.zeros(0, 4)).shape == (0, 4)
