"""Refinement by attention affinity, as the original has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss_seed.seeding.clip_sams.affinity import affinity, box_mask, refine
from wsss_seed.seeding.clip_sams.maps import score

GOLDEN = "g3_caa"


def test_scores(g, case, close):
    close(score(g.tensor(case, "cam")), g(case, "score"), of_max=1e-5)


def test_affinity_after_three_rounds(g, case, close):
    close(affinity(g.tensor(case, "att_merged"), 3), g(case, "affinity"), of_max=1e-5)


def test_boxes_and_refined_maps(g, case, close):
    cams = g.tensor(case, "cam")
    for i, (name, config) in enumerate(g.json["configs"].items()):
        boxes = box_mask(score(cams), config["box_threshold"])
        assert np.array_equal(boxes.numpy(), g(case, "box_mask")[i].astype(bool)), name
        refined = refine(
            cams,
            g.tensor(case, "att_merged"),
            sinkhorn_iters=config["sinkhorn_rounds"],
            power=config["affinity_power"],
            box_threshold=config["box_threshold"],
            apply_to=config["apply_to"],
        )
        close(refined, g(case, "refined")[i], of_max=1e-5)


def test_attention_stored_as_float16(g, case, close):
    """What the original's own pipeline gives, which keeps the record in half precision."""
    for i, config in enumerate(g.json["configs"].values()):
        refined = refine(
            g.tensor(case, "cam"),
            g.tensor(case, "att_merged").to(torch.float16),
            sinkhorn_iters=config["sinkhorn_rounds"],
            power=config["affinity_power"],
            box_threshold=config["box_threshold"],
            apply_to=config["apply_to"],
        )
        expected = g(case, "refined_fp16att")[i]
        assert refined.numpy() == pytest.approx(expected, abs=1e-5 * max(float(np.abs(expected).max()), 1e-30))
