"""CLIP-ES, the training-free baseline, as its authors' code has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss_seed.seeding.clip_sams.affinity import refine
from wsss_seed.seeding.clip_sams.cam import class_logits, present_softmax, softmax_gradcam
from wsss_seed.seeding.clip_sams.maps import minmax, resized, score
from wsss_seed.seeding.clip_sams.prompts import handwritten_features

GOLDEN = "g23_clipes"


def bank(g, case):
    return "voc" if case.startswith("voc") else "coco"


@pytest.mark.parametrize("which", ["voc", "coco"])
def test_text_features(g, clip, close, which):
    names = g.json[which]
    template = (names["template"],)
    close(handwritten_features(clip, names["fg_names"], template), g(which, "fg_features"), atol=1e-5)
    close(handwritten_features(clip, names["bg_names"], template), g(which, "bg_features"), atol=1e-5)
    several = handwritten_features(clip, names["ensemble_classes"], names["ensemble_templates"])
    close(several, g(which, "ensemble3_features"), atol=1e-5)


@pytest.mark.parametrize("positions", ["half", "nohalf"])
def test_maps(g, case, clip, close, positions):
    """``half``: the original rounds the position embeddings to float16; we do not, and stay within the tolerance."""
    config, which = g.cases[case], bank(g, case)
    image = g(case, "image_rgb_uint8")
    tower = clip.encode_tokens(clip.prepare(image), attention_blocks=8)
    foreground = g.tensor(which, "fg_features")
    text = torch.cat([foreground, g.tensor(which, "bg_features")])
    given = config["class_ids"]
    place = np.argsort(np.argsort(given))  # ours come in label order, theirs in the given one
    labels = torch.zeros(1, len(foreground), dtype=torch.bool)
    labels[0, given] = True
    probabilities = present_softmax(class_logits(clip.last_block(tower), text, clip.logit_scale), labels)[0]
    probabilities = torch.cat([probabilities[given], probabilities[len(foreground) :]])
    close(probabilities, g(case, positions, "softmax_scores"), atol=1e-4)
    cams = softmax_gradcam(clip, tower, text, labels, softmax="present")[place]
    close(score(score(cams)), g(case, positions, "cam_norm"), atol=1e-3)
    close(tower.attention[0], g(case, positions, "att_merged"), atol=1e-3)
    refined = refine(score(cams), tower.attention[0], sinkhorn_iters=3, power=2, box_threshold=config["box_threshold"])
    close(refined, g(case, positions, "cam_refined"), atol=1e-3)
    if positions == "half":
        close(resized(minmax(refined), image.shape[:2]), g(case, positions, "attn_highres"), atol=1e-3)
