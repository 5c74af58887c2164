"""Pixel-level seeds without mask proposals, as the original has them."""

from __future__ import annotations

import re

import numpy as np

from wsss_seed.seeding.maps import resized, score
from wsss_seed.seeding.pixel_seed import pixel_seed

GOLDEN = "g7s_argmax_seed"


def test_seeds(g, case, close):
    cams, classes, size = g.tensor(case, "cam"), g(case, "fg_cls").tolist(), tuple(g.cases[case]["out_size"])
    close(score(resized(cams, size)), g(case, "score"), atol=1e-4)
    powers = [m[1] for k in g.arrays if (m := re.fullmatch(re.escape(case) + r"\.pow([\d.]+)\.seed", k))]
    assert powers
    for power in powers:
        labels, confidence = pixel_seed(cams, classes, size, float(power))
        assert np.mean(labels != g(case, f"pow{power}", "seed")) <= 1e-3
        assert ((confidence >= 0) & (confidence <= 1)).all()
