"""Mask proposals against the original's, from recorded decoder outputs and end to end with a tiny SAM (A4.2-A4.5)."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.parity.goldens import FOLDER
from wsss_seed.models.sam import Sam, Window, build_sam
from wsss_seed.seeding.proposals import ProposalSettings, boxes_of, generate_proposals

NONE = (0.0, 0.0, 0.0)
VARIANTS = {
    "final": {},
    "no_rsw": {"overlap": 0.0},
    "stock_like": {"overlap": 0.0, "iou_bonus": NONE, "rank_bonus": NONE},
    "crop0": {"layers": 0},
}


def files(prefix):
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.npz"))


def variants(prefix):
    """Every variant of every file; one unnamed one that is skipped where there are no files."""
    found = []
    for name in files(prefix):
        keys = np.load(FOLDER / f"{name}.npz").files
        found += [(name, v) for v in dict.fromkeys(key.split(".")[1] for key in keys if key.startswith("out."))]
    missing = pytest.mark.skip(reason=f"no {prefix} in {FOLDER}; set WSSS_SEED_GOLDENS to the folder that has it")
    return found or [pytest.param("", "", marks=missing)]


def settings_of(config, points, variant):
    return ProposalSettings(
        **{
            "points": points,
            "layers": config["crop_n_layers"],
            "layer_points": config["crop_n_points_downscale_factor"],
            "crop_overlap": config["crop_overlap_ratio"],
            "iou": config["pred_iou_thresh"],
            "iou_bonus": tuple(config["score_thresh_offset"]),
            "stability": config["stability_score_thresh"],
            "stability_offset": config["stability_score_offset"],
            "nms": config["box_nms_thresh"],
            "rank_bonus": tuple(config["score_nms_offset"]),
            "crop_nms": config["crop_nms_thresh"],
            "min_area": config["min_mask_region_area"],
            "overlap": config["rock_sand_water_thresh"],
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

    def windows(self, embedding, low_res, floor):
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
    np.testing.assert_array_equal(xywh(boxes_of(got.masks)), want["bbox_xywh"])
    for bonus, key in ((config.iou_bonus, "predicted_iou_thresh"), (config.rank_bonus, "predicted_iou_nms")):
        np.testing.assert_array_equal(got.predicted_iou + np.array(bonus, np.float32)[got.level], want[key])


@pytest.mark.parametrize(("name", "variant"), variants("g6_sam_replay_"))
def test_recorded_outputs_give_exactly_the_originals_masks(name, variant):
    arrays = dict(np.load(FOLDER / f"{name}.npz"))
    described = json.loads((FOLDER / "g6_sam_replay.json").read_text())
    case = described["cases"][name]
    settings = settings_of(described["final_config"], case["points_per_side"], variant)
    height, width = arrays["image_hw"]
    replay = Replay(arrays, case["points_per_batch"])
    got = generate_proposals(replay, np.zeros((height, width, 3), np.uint8), settings)
    assert replay.crop + 1 == (len(arrays["crop_boxes_xyxy"]) if settings.layers else 1)
    check_exact(got, arrays, variant, settings)


def tiny_sam(name):
    arrays = dict(np.load(FOLDER / f"{name}.npz"))
    described = json.loads((FOLDER / f"{name}.json").read_text())
    arch = described["arch"]
    encoder = {key: value for key, value in arch["image_encoder"].items() if key != "norm"}
    decoder = dict(arch["mask_decoder"])
    transformer = decoder.pop("transformer")
    model = build_sam(
        {
            "image_encoder": encoder,
            "prompt_encoder": arch["prompt_encoder"],
            "transformer": transformer,
            "mask_decoder": {"num_multimask_outputs": 3, **decoder},
            "pixel_mean": arch["pixel_mean"],
            "pixel_std": arch["pixel_std"],
        }
    )
    weights = {key[3:]: torch.from_numpy(value).float() for key, value in arrays.items() if key.startswith("sd.")}
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown
    return Sam(model), arrays, described


@pytest.mark.parametrize(("name", "variant"), variants("g6_sam_tiny"))
def test_tiny_sam_end_to_end(name, variant):
    sam, arrays, described = tiny_sam(name)
    settings = settings_of(described["config"], described["points_per_side"], variant)
    got = generate_proposals(sam, arrays["image_rgb_uint8"], settings)
    want = arrays[f"out.{variant}.masks"]
    assert len(got) == len(want)
    assert (got.dense() != want).mean((1, 2)).max() <= 0.005
    np.testing.assert_array_equal(got.level, arrays[f"out.{variant}.level"])
    np.testing.assert_allclose(got.predicted_iou, arrays[f"out.{variant}.predicted_iou"], atol=1e-4)
    np.testing.assert_allclose(got.stability, arrays[f"out.{variant}.stability_score"], atol=5e-3)
    np.testing.assert_array_equal(got.point, arrays[f"out.{variant}.point_coords"])


@pytest.mark.parametrize("name", files("g6_sam_tiny"))
def test_tiny_sam_answers_points(name):
    sam, arrays, _ = tiny_sam(name)
    embedding = sam.embed(arrays["image_rgb_uint8"])
    (answers,) = sam.decode_points(embedding, arrays["probe.points"])
    np.testing.assert_allclose(answers.iou, arrays["probe.iou_preds"], atol=1e-4)
    every = torch.ones(len(answers.iou), 3, dtype=torch.bool)
    want = arrays["probe.lowres_logits"]
    np.testing.assert_allclose(answers.low_res(every).view(want.shape), want, atol=1e-4 * np.abs(want).max())
