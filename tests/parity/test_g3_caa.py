"""Refinement by attention affinity, as the original has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss_seed.seeding.clip_sams.affinity import affinity, box_mask, refine
from wsss_seed.seeding.clip_sams.maps import score

GOLDEN = "g3_caa"


def test_scores_and_affinity(g, case, close):
    close(score(g.tensor(case, "cam")), g(case, "score"), of_max=1e-5)
    layers = g.tensor(case, "att")
    checked = 0
    for name, config in g.json["configs"].items():
        merged = layers[-config["last_n_layers"] :, 1:, 1:].mean(0)
        close(merged, g(case, "att_merged"), of_max=1e-5)
        if g.has(case, name, "affinity"):
            close(affinity(merged, config["sinkhorn_rounds"]), g(case, name, "affinity"), of_max=1e-5)
            checked += 1
    assert checked


def test_boxes_and_refined_maps(g, case, close):
    cams = g.tensor(case, "cam")
    for name, config in g.json["configs"].items():
        boxes = box_mask(score(cams), config["box_threshold"])
        assert np.array_equal(boxes.numpy(), g(case, name, "box_mask").astype(bool)), name
        refined = refine(
            cams,
            g.tensor(case, "att_merged"),
            sinkhorn_iters=config["sinkhorn_rounds"],
            power=config["affinity_power"],
            box_threshold=config["box_threshold"],
            apply_to=config["apply_to"],
        )
        close(refined, g(case, name, "refined"), of_max=1e-5)


def test_attention_stored_as_float16(g, case, close):
    """What the original's own pipeline gives, which keeps the record in half precision."""
    for name, config in g.json["configs"].items():
        refined = refine(
            g.tensor(case, "cam"),
            g.tensor(case, "att_merged").to(torch.float16),
            sinkhorn_iters=config["sinkhorn_rounds"],
            power=config["affinity_power"],
            box_threshold=config["box_threshold"],
            apply_to=config["apply_to"],
        )
        expected = g(case, name, "refined_fp16att")
        assert refined.numpy() == pytest.approx(expected, abs=1e-5 * max(float(np.abs(expected).max()), 1e-30))
