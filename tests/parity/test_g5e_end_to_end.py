"""From context vectors through the towers to both losses and back, second derivatives included."""

from __future__ import annotations

import pytest
import torch

from wsss_seed.seeding.clip_sams.cam import class_logits, softmax_gradcam
from wsss_seed.seeding.clip_sams.losses import cam_loss, contrastive_loss
from wsss_seed.seeding.clip_sams.prompts import Contexts, prompt_features

GOLDEN = "g5e_end_to_end"


@pytest.fixture
def learning(g, case, clip):
    config = g.cases[case]
    contexts = Contexts(
        g.tensor(case, "ctx").requires_grad_(), tuple(config["classnames"]), config["class_token_position"]
    )
    assert contexts.vectors.ndim == (3 if config["csc"] else 2)
    labels = g.tensor(case, "fg_cls_lb").bool()
    assert labels.shape[1] == config["n_fg"]
    return contexts.vectors, prompt_features(clip, contexts), clip.encode_tokens(g.tensor(case, "img")), labels


def test_contrastive_loss(g, case, clip, learning, close):
    vectors, text, tower, labels = learning
    logits = class_logits(clip.last_block(tower), text, clip.logit_scale)
    close(logits, g(case, "logits"), atol=1e-4)
    loss = contrastive_loss(logits[:, : labels.shape[1]], labels)
    close(loss, g(case, "loss_cl"), atol=1e-5)
    (gradient,) = torch.autograd.grad(loss, vectors)
    close(gradient, g(case, "grad_ctx_cl_loss"), of_max=1e-3)


def test_cam_loss(g, case, clip, learning, close):
    vectors, text, tower, labels = learning
    cams = softmax_gradcam(clip, tower, text, labels, create_graph=True)
    close(cams, g(case, "cam_raw"), of_max=1e-4)
    inside, outside = cam_loss(cams, labels, g.tensor(case, "label_map"))
    close(inside, g(case, "loss_cam_fg"), atol=1e-5)
    close(outside, g(case, "loss_cam_bg"), atol=1e-5)
    (gradient,) = torch.autograd.grad(inside + outside, vectors)
    close(gradient, g(case, "grad_ctx_cam_loss"), of_max=1e-3)
