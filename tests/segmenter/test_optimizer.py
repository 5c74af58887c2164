"""Groups of parameters, and learning rates."""

from itertools import pairwise

import pytest
import torch

from wsss_seed.segmenter import networks
from wsss_seed.segmenter.networks import NetworkSettings, build
from wsss_seed.segmenter.optimizer import build_optimizer, learning_rate, set_lr
from wsss_seed.segmenter.settings import OptimizerSettings


def test_rate_falls_as_torchs_polynomial_does_and_rises_during_warm_up():
    parameter = torch.nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([parameter], 0.02)
    theirs = torch.optim.lr_scheduler.PolynomialLR(sgd, 50, 0.9)
    settings = OptimizerSettings(lr=0.02, lr_power=0.9, min_lr=0.0)
    for iteration in range(50):
        assert learning_rate(iteration, 50, settings) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-12)
        sgd.step()
        theirs.step()
    settings = OptimizerSettings(lr=0.02, min_lr=1e-3, warmup_iters=10)
    rates = [learning_rate(i, 50, settings) for i in range(51)]
    assert rates[0] == pytest.approx(0.02 * 1e-3)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[50] == pytest.approx(1e-3)


def test_groups_of_parameters(monkeypatch):
    size = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
    monkeypatch.setitem(networks._SWIN_SIZES, "swin-small-for-tests", size)
    network = build(NetworkSettings("mask2former", "swin-small-for-tests", decoder_channels=32, num_queries=8), 3)
    settings = OptimizerSettings("adamw", lr=1e-4, weight_decay=0.05, decay_norm_and_bias=False, backbone_lr_mult=0.1)
    optimizer = build_optimizer(network, settings)
    names = {id(p): name for name, p in network.named_parameters()}
    place = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    assert set(place) == set(names.values())
    set_lr(optimizer, 1e-4)
    for name, group in place.items():
        assert group["lr"] == pytest.approx(1e-5 if "pixel_level_module.encoder." in name else 1e-4)
        if any(word in name for word in ("norm", "bias", "queries_", "level_embed", "position")):
            assert group["weight_decay"] == 0, name
    assert sum(group["weight_decay"] == 0.05 for group in place.values()) > 20
    assert any("relative_position_bias_table" in name for name in place)
    whole = build_optimizer(network, OptimizerSettings("sgd", weight_decay=5e-4))
    assert {group["weight_decay"] for group in whole.param_groups} == {5e-4}
