"""SAM-based seeding, as the original has it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity.goldens import golden
from wsss_seed.seeding.clip_sams.maps import resized, score
from wsss_seed.seeding.clip_sams.sams import assign_labels, mask_means, mask_scores, overlay_order, runs_of, sams

GOLDEN = "g4_sams"
CASES = golden(GOLDEN).cases
PUBLISHED = [name for name, config in CASES.items() if "norm_first" not in config]


def inputs(g, case):
    masks = g(case, "masks").astype(bool)
    return g.tensor(case, "cam"), g(case, "fg_cls").tolist(), masks, g(case, "levels"), masks.shape[1:]


@pytest.mark.parametrize("published", PUBLISHED)
def test_seeds(g, published):
    cams, classes, masks, levels, size = inputs(g, published)
    for power, seed in zip(CASES[published]["powers"], g(published, "seed"), strict=True):
        maps = sams(cams, classes, masks, levels, power, size)
        assert np.array_equal(maps.labels, seed), power
        if g.has(published, "cam_lowres"):
            small = sams(g.tensor(published, "cam_lowres"), classes, masks, levels, power, size)
            assert np.array_equal(small.labels, seed), power


def test_enlarged_maps(g, close):
    case = "c14_lowres_resize"
    close(resized(g.tensor(case, "cam_lowres"), g(case, "masks").shape[1:]), g(case, "cam"), atol=1e-5)


def test_every_step(g, case, close):
    cams, classes, masks, levels, _ = inputs(g, case)
    runs = [runs_of(mask) for mask in masks]
    assert [r.area for r in runs] == g(case, "areas").tolist()
    variant = CASES[case].get("norm_first")
    if variant == "False":
        means = mask_means(cams, runs).clip(min=0)
    elif variant == "double_norm":
        means = mask_means(score(cams), runs)
    else:
        assert variant is None
        means = mask_means(cams.relu(), runs)
    for i, power in enumerate(CASES[case]["powers"]):
        scores = mask_scores(means, power)
        votes = assign_labels(scores, classes)
        assert np.array_equal(votes.labels, g(case, "mask_label")[i]), power
        close(votes.confidence, g(case, "mask_conf")[i], atol=1e-5)
        order = overlay_order(levels, votes.confidence)
        if i == 0 and variant is None:
            close(means, g(case, "mask_means"), atol=1e-5)
            close(scores, g(case, "mask_scores"), atol=1e-5)
            assert np.array_equal(order, g(case, "paint_order"))
        seed = np.zeros(masks.shape[1:], np.uint8)
        for k in order:
            seed[masks[k]] = votes.labels[k]
        assert np.array_equal(seed, g(case, "seed")[i]), power
