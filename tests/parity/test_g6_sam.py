"""Mask proposals against the original's, from recorded decoder outputs."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.parity.goldens import VECTORS
from wsss_seed.models.sam import Window
from wsss_seed.proposals.generate import ProposalSettings, generate_proposals, mask_boxes

DESCRIBED = json.loads((VECTORS / "g6_sam_replay.json").read_text())
NONE = (0.0, 0.0, 0.0)
VARIANTS = {
    "final": {},
    "no_rsw": {"level_overlap_thresh": 0.0},
    "stock_like": {"level_overlap_thresh": 0.0, "score_thresh_offset": NONE, "score_nms_offset": NONE},
    "crop0": {"crop_n_layers": 0},
}


def settings_of(config, points, variant):
    return ProposalSettings(
        **{
            "points_per_side": points,
            "crop_n_layers": config["crop_n_layers"],
            "crop_n_points_downscale_factor": config["crop_n_points_downscale_factor"],
            "crop_overlap_ratio": config["crop_overlap_ratio"],
            "pred_iou_thresh": config["pred_iou_thresh"],
            "score_thresh_offset": tuple(config["score_thresh_offset"]),
            "stability_score_thresh": config["stability_score_thresh"],
            "stability_score_offset": config["stability_score_offset"],
            "box_nms_thresh": config["box_nms_thresh"],
            "score_nms_offset": tuple(config["score_nms_offset"]),
            "crop_nms_thresh": config["crop_nms_thresh"],
            "min_mask_region_area": config["min_mask_region_area"],
            "level_overlap_thresh": config["rock_sand_water_thresh"],
            **VARIANTS[variant],
        }
    )


class Recorded(NamedTuple):
    """Recorded answers to some points."""

    iou: torch.Tensor
    logits: torch.Tensor

    def low_res(self, chosen):
        return self.logits[chosen]


class Replay:
    """Plays back what a decoder said about each crop, at the crop's own size."""

    def __init__(self, arrays, batch):
        self.arrays, self.batch, self.crop = arrays, batch, -1

    def embed(self, image):
        self.crop += 1
        x0, y0, x1, y1 = self.arrays["crop_boxes_xyxy"][self.crop]
        assert image.shape == (y1 - y0, x1 - x0, 3)
        return f"crop{self.crop}"

    def decode_points(self, embedding, points):
        np.testing.assert_allclose(points, self.arrays[f"{embedding}.points"], rtol=0, atol=1e-9)
        iou = torch.from_numpy(self.arrays[f"{embedding}.iou_preds"])
        logits = torch.from_numpy(self.arrays[f"{embedding}.logits_q8"]).float() / 8
        yield from map(Recorded, iou.split(self.batch), logits.split(self.batch))

    def upsampled_windows(self, embedding, low_res, floor):
        if len(low_res):
            yield Window(torch.arange(len(low_res)), 0, 0, low_res)


def xywh(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def check_exact(got, arrays, variant, config):
    want = {key.split(".", 2)[2]: value for key, value in arrays.items() if key.startswith(f"out.{variant}.")}
    assert len(got) == len(want["masks"])
    np.testing.assert_array_equal(got.dense(), want["masks"])
    np.testing.assert_array_equal(got.level, want["level"])
    np.testing.assert_array_equal(got.area, want["area"])
    np.testing.assert_array_equal(got.predicted_iou, want["predicted_iou"])
    np.testing.assert_array_equal(got.stability, want["stability_score"])
    np.testing.assert_array_equal(got.point, want["point_coords"])
    np.testing.assert_array_equal(xywh(got.crop), want["crop_box_xywh"])
    np.testing.assert_array_equal(xywh(mask_boxes(got.masks)), want["bbox_xywh"])
    for bonus, key in (
        (config.score_thresh_offset, "predicted_iou_thresh"),
        (config.score_nms_offset, "predicted_iou_nms"),
    ):
        np.testing.assert_array_equal(got.predicted_iou + np.array(bonus, np.float32)[got.level], want[key])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", DESCRIBED["cases"])
def test_recorded_outputs_give_exactly_the_originals_masks(name, variant):
    arrays = dict(np.load(VECTORS / f"{name}.npz"))
    case = DESCRIBED["cases"][name]
    settings = settings_of(DESCRIBED["final_config"], case["points_per_side"], variant)
    height, width = arrays["image_hw"]
    replay = Replay(arrays, case["points_per_batch"])
    got = generate_proposals(replay, np.zeros((height, width, 3), np.uint8), settings)
    assert replay.crop + 1 == (len(arrays["crop_boxes_xyxy"]) if settings.crop_n_layers else 1)
    check_exact(got, arrays, variant, settings)
