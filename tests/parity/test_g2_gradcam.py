"""Softmax-GradCAM and the attention record, as the original has them."""

from __future__ import annotations

import pytest
import torch

from wsss_seed.seeding.clip_sams.cam import SOFTMAX, class_logits, softmax_gradcam
from wsss_seed.seeding.clip_sams.maps import score

GOLDEN = "g2_gradcam"


@pytest.fixture
def tower(g, case, clip):
    return clip.encode_tokens(g.tensor(case, "img"), attention_blocks=8)


def softmax_of(g, case):
    return "all" if "plain" in g.cases[case]["softmax"] else "masked"


def test_features_and_probabilities(g, case, clip, tower, close):
    features = clip.last_block(tower)
    embedding = g.tensor(case, "img_emb")
    close(features, torch.nn.functional.normalize(embedding, dim=-1).numpy(), atol=1e-5)
    logits = class_logits(features, g.tensor(case, "text_features_norm"), clip.logit_scale)
    assert clip.logit_scale == pytest.approx(g.cases[case]["logit_scale_exp"])
    close(logits, g(case, "logits"), atol=1e-4)
    probabilities = SOFTMAX[softmax_of(g, case)](logits, g.tensor(case, "fg_cls_lb").bool())
    close(probabilities, g(case, "softmax_scores"), atol=1e-5)


def test_maps(g, case, clip, tower, close):
    labels = g.tensor(case, "fg_cls_lb").bool()
    cams = softmax_gradcam(clip, tower, g.tensor(case, "text_features_norm"), labels, softmax=softmax_of(g, case))
    images, classes = labels.nonzero(as_tuple=True)
    assert images.tolist() == g(case, "pos_batch").tolist()
    assert classes.tolist() == g(case, "pos_cls").tolist()
    assert list(tower.grid) == g.cases[case]["grid"]
    close(cams, g(case, "cam_raw"), of_max=1e-4)
    close(score(cams), g(case, "cam_norm"), atol=2e-4)


def test_attention(g, case, clip, close):
    layers = g(case, "att_layers")
    for last in (*range(1, layers.shape[1] + 1), 8):  # 8 is more than there are: the mean over all
        record = clip.encode_tokens(g.tensor(case, "img"), attention_blocks=last).attention
        close(record, layers[:, -last:, 1:, 1:].mean(1), atol=1e-5)
