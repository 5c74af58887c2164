"""Both losses with their gradients, as the original has them."""

from __future__ import annotations

import numpy as np
import torch

from wsss_seed.seeding.clip_sams.losses import cam_loss, contrastive_loss

GOLDEN = "g5_losses"


def test_contrastive_loss(g, case, close):
    config = g.cases[case]
    logits = g.tensor(case, "logits").requires_grad_()
    reduce = {"pos_mean": "pairs", "sample_mean": "images"}[config["reduce"]]
    loss = contrastive_loss((config["gamma"] or 1) * logits, g.tensor(case, "labels"), reduce=reduce)
    close(loss, g(case, "loss"), of_max=1e-5)
    loss.backward()
    close(logits.grad, g(case, "grad_logits"), of_max=1e-4)


test_contrastive_loss.cases = "cl"


def test_cam_loss(g, case, close):
    config = g.cases[case]
    assert config["bg_thresh"] == 0
    options = {
        "squared": {"l1": False, "l2": True}[config["loss_type"]],
        "balanced": {"all": False, "fg-bg": True}[config["reduce"]],
        "detach_max": config["detach_max"],
    }
    cams = g.tensor(case, "cam").requires_grad_()
    inside, outside = cam_loss(cams, g.tensor(case, "fg_cls_lb"), g.tensor(case, "label_map"), **options)
    (both,) = torch.autograd.grad(inside + outside, cams, retain_graph=True)
    (one,) = torch.autograd.grad(inside, cams)
    if np.isnan(g(case, "loss")):  # 0/0 there, where nothing is labelled; 0 here, so that learning continues
        assert (g(case, "label_map") == 255).all()
        assert inside == outside == 0
        assert not both.any()
        return
    close(inside, g(case, "loss_fg"), of_max=1e-5)
    close(outside, g(case, "loss_bg"), of_max=1e-5)
    close(inside + outside, g(case, "loss"), of_max=1e-5)
    close(both, g(case, "grad_cam"), of_max=1e-4)
    close(one, g(case, "grad_cam_fg"), of_max=1e-4)


test_cam_loss.cases = "cam"
