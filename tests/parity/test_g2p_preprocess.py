"""The image tower's input at inference, as the original has it."""

from __future__ import annotations

GOLDEN = "g2p_preprocess"


def test_preprocessing(g, case, clip, close):
    close(clip.prepare(g(case, "image_rgb_uint8"))[0], g(case, "tensor"), atol=1e-5)
