"""Recipes, groups of parameters, and learning rates."""

from itertools import pairwise

import pytest
import torch

from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.segmenter import networks
from wsss_seed.segmenter.networks import NetworkSettings, build
from wsss_seed.segmenter.optimise import build_optimiser, learning_rate, set_rate
from wsss_seed.segmenter.settings import OptimiserSettings, load_recipe, recipe_for, recipes


def test_recipes_hold_the_published_values():
    assert recipes() == (
        "deeplabv3plus-coco",
        "deeplabv3plus-voc",
        "mask2former-coco",
        "mask2former-voc",
        "tiny",
    )
    for name, iterations in (("mask2former-voc", 80_000), ("mask2former-coco", 100_000)):
        s = load_recipe(name).settings
        assert (s.network.name, s.network.encoder, s.network.queries) == ("mask2former", "swin-large", 100)
        assert (s.augment.crop, s.augment.short, s.augment.long, s.augment.category) == (512, 512, 2048, 0.75)
        assert (s.augment.ratio_low, s.augment.ratio_high, s.augment.ratio_step) == (0.5, 2.0, 0.1)
        assert (s.train.batch, s.train.iterations) == (4, iterations)
        o = s.optimiser
        assert (o.kind, o.rate, o.decay, o.backbone, o.clip, o.power, o.end) == ("adamw", 1e-4, 0.05, 0.1, 0.01, 0.9, 0)
        assert not o.decay_all
    for name in ("deeplabv3plus-voc", "deeplabv3plus-coco"):
        s = load_recipe(name).settings
        assert (s.network.name, s.network.encoder, s.network.stride) == ("deeplabv3plus", "resnet101", 8)
        assert s.network.auxiliary == 0.4
        assert (s.augment.crop, s.train.batch) == (512, 16)
        o = s.optimiser
        assert (o.kind, o.rate, o.momentum, o.decay, o.power, o.end) == ("sgd", 0.01, 0.9, 5e-4, 0.9, 1e-4)
    assert load_recipe("deeplabv3plus-voc").settings.train.iterations == 40_000


def test_each_class_set_has_its_recipe():
    assert recipe_for(load_class_set("toyland")) == "tiny"
    assert recipe_for(load_class_set("coco")) == "deeplabv3plus-coco"
    assert recipe_for(load_class_set("cat, dog")) == recipe_for(load_class_set("voc")) == "deeplabv3plus-voc"


def test_overrides_go_before_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\nweights = "none"\n[network]\nencoder = "resnet50"\n[train]\nbatch = 6\n')
    recipe = load_recipe(str(path), {"train.batch": 10})
    assert (recipe.name, recipe.title, recipe.weights) == ("mine", "mine", "none")
    assert (recipe.settings.network.encoder, recipe.settings.train.batch) == ("resnet50", 10)


@pytest.mark.parametrize(
    ("name", "overrides", "part"),
    [
        ("tinny", {}, "Did you mean 'tiny'"),
        ("tiny", {"train.iteration": 3}, "Did you mean 'train.iterations'"),
        ("tiny", {"train.batch": 0}, "train.batch = 0"),
        ("tiny", {"augment.crop": 100}, "multiple of 32"),
        ("tiny", {"augment.ratio_low": 3.0}, "augment.ratio_low = 3"),
        ("tiny", {"network.stride": 4}, "8 or 16"),
        ("tiny", {"network.rates": [1, 2]}, "three numbers"),
        ("tiny", {"optimiser.kind": "adam"}, "Did you mean 'adamw'"),
        ("tiny", {"train.ema": 1.0}, "train.ema"),
        ("missing.toml", {}, "missing.toml"),
    ],
)
def test_what_is_wrong_is_named(name, overrides, part):
    with pytest.raises(WsssError) as error:
        load_recipe(name, overrides)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("title = ", "not valid TOML"),
        ("[trian]\nbatch = 3", "trian.batch"),
        ("batch = 3", "'batch'"),
        ("[train]\nbatch = " + "1" * 5000, "too many digits"),
        ("title = " + "[" * 5000, "nested too deeply"),
        ("[train.batch]\na = 1", "train.batch"),
    ],
    ids=["torn", "group", "no group", "digits", "nested", "table"],
)
def test_files_that_are_no_recipe(tmp_path, text, part):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WsssError, match=part):
        load_recipe(str(path))


def test_rate_falls_as_torchs_polynomial_does_and_rises_during_warm_up():
    parameter = torch.nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([parameter], 0.02)
    theirs = torch.optim.lr_scheduler.PolynomialLR(sgd, 50, 0.9)
    settings = OptimiserSettings(rate=0.02, power=0.9, end=0.0)
    for iteration in range(50):
        assert learning_rate(iteration, 50, settings) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-12)
        sgd.step()
        theirs.step()
    settings = OptimiserSettings(rate=0.02, end=1e-3, warmup=10)
    rates = [learning_rate(i, 50, settings) for i in range(51)]
    assert rates[0] == pytest.approx(0.02 * 1e-3)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[50] == pytest.approx(1e-3)


def test_groups_of_parameters(monkeypatch):
    size = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
    monkeypatch.setitem(networks._SWIN_SIZES, "swin-small-for-tests", size)
    network = build(NetworkSettings("mask2former", "swin-small-for-tests", channels=32, queries=8), 3)
    settings = OptimiserSettings("adamw", rate=1e-4, decay=0.05, decay_all=False, backbone=0.1)
    optimiser = build_optimiser(network, settings)
    names = {id(p): name for name, p in network.named_parameters()}
    place = {names[id(p)]: group for group in optimiser.param_groups for p in group["params"]}
    assert set(place) == set(names.values())
    set_rate(optimiser, 1e-4)
    for name, group in place.items():
        assert group["lr"] == pytest.approx(1e-5 if "pixel_level_module.encoder." in name else 1e-4)
        if any(word in name for word in ("norm", "bias", "queries_", "level_embed", "position")):
            assert group["weight_decay"] == 0, name
    assert sum(group["weight_decay"] == 0.05 for group in place.values()) > 20
    assert any("relative_position_bias_table" in name for name in place)
    whole = build_optimiser(network, OptimiserSettings("sgd", decay=5e-4))
    assert {group["weight_decay"] for group in whole.param_groups} == {5e-4}
