"""SAM-based seeding, as the original has it."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_seed.seeding.clip_sams.maps import resized, score
from wsss_seed.seeding.clip_sams.sams import assign_labels, mask_means, mask_scores, overlay_order, runs_of, sams

GOLDEN = "g4_sams"


def configs_of(g, case):
    return [(name, power) for name, power in g.json["bg_power"].items() if g.has(case, name, "seed")]


def inputs(g, case):
    masks = g(case, "masks").astype(bool)
    return g.tensor(case, "cam"), g(case, "fg_cls").tolist(), masks, g(case, "levels"), masks.shape[1:]


def test_seeds(g, case):
    if "norm_first" in g.cases[case]:
        pytest.skip("a variant of the steps, not of the whole")
    cams, classes, masks, levels, size = inputs(g, case)
    assert configs_of(g, case)
    for name, power in configs_of(g, case):
        maps = sams(cams, classes, masks, levels, power, size)
        assert np.array_equal(maps.labels, g(case, name, "seed")), name
        if g.has(case, "cam_lowres"):
            small = sams(g.tensor(case, "cam_lowres"), classes, masks, levels, power, size)
            assert np.array_equal(small.labels, g(case, name, "seed")), name


def test_enlarged_maps(g, case, close):
    if g.has(case, "cam_lowres"):
        close(resized(g.tensor(case, "cam_lowres"), g(case, "masks").shape[1:]), g(case, "cam"), atol=1e-5)


def test_every_step(g, case, close):
    cams, classes, masks, levels, _ = inputs(g, case)
    runs = [runs_of(mask) for mask in masks]
    assert [r.area for r in runs] == g(case, "areas").tolist()
    variant = g.cases[case].get("norm_first")
    if variant == "False":
        means = mask_means(cams, runs).clip(min=0)
    elif variant == "double_norm":
        means = mask_means(score(cams), runs)
    else:
        assert variant is None
        means = mask_means(cams.relu(), runs)
    for name, power in configs_of(g, case):
        scores = mask_scores(means, power)
        votes = assign_labels(scores, classes)
        assert np.array_equal(votes.labels, g(case, name, "mask_label")), name
        close(votes.confidence, g(case, name, "mask_conf"), atol=1e-5)
        if g.has(case, name, "mask_means"):
            close(means, g(case, name, "mask_means"), atol=1e-5)
            close(scores, g(case, name, "mask_scores"), atol=1e-5)
            order = overlay_order(levels, votes.confidence)
            assert np.array_equal(order, g(case, name, "paint_order"))
        seed = np.zeros(masks.shape[1:], np.uint8)
        for i in overlay_order(levels, votes.confidence):
            seed[masks[i]] = votes.labels[i]
        assert np.array_equal(seed, g(case, name, "seed")), name
