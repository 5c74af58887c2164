"""Recipes and their settings."""

import pytest

from wsss_seed.data.classes import load_class_set
from wsss_seed.errors import WsssError
from wsss_seed.segmenter.settings import load_recipe, recipe_for, recipes


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
        assert (s.network.name, s.network.encoder, s.network.num_queries) == ("mask2former", "swin-large", 100)
        assert (s.augment.crop_size, s.augment.shortest_edge, s.augment.longest_edge, s.augment.cat_max_ratio) == (
            512,
            512,
            2048,
            0.75,
        )
        assert (s.augment.ratio_range, s.augment.ratio_step) == ((0.5, 2.0), 0.1)
        assert (s.train.batch_size, s.train.max_iters) == (4, iterations)
        o = s.optimizer
        assert (o.name, o.lr, o.weight_decay, o.backbone_lr_mult, o.clip_grad_norm, o.lr_power, o.min_lr) == (
            "adamw",
            1e-4,
            0.05,
            0.1,
            0.01,
            0.9,
            0,
        )
        assert not o.decay_norm_and_bias
    for name in ("deeplabv3plus-voc", "deeplabv3plus-coco"):
        s = load_recipe(name).settings
        assert (s.network.name, s.network.encoder, s.network.output_stride) == ("deeplabv3plus", "resnet101", 8)
        assert s.network.aux_loss_weight == 0.4
        assert (s.augment.crop_size, s.train.batch_size) == (512, 16)
        o = s.optimizer
        assert (o.name, o.lr, o.momentum, o.weight_decay, o.lr_power, o.min_lr) == ("sgd", 0.01, 0.9, 5e-4, 0.9, 1e-4)
    assert load_recipe("deeplabv3plus-voc").settings.train.max_iters == 40_000


def test_each_class_set_has_its_recipe():
    assert recipe_for(load_class_set("toyland")) == "tiny"
    assert recipe_for(load_class_set("coco")) == "deeplabv3plus-coco"
    assert recipe_for(load_class_set("cat, dog")) == recipe_for(load_class_set("voc")) == "deeplabv3plus-voc"


def test_overrides_go_before_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\nweights = "none"\n[network]\nencoder = "resnet50"\n[train]\nbatch_size = 6\n')
    recipe = load_recipe(str(path), {"train.batch_size": 10})
    assert (recipe.name, recipe.title, recipe.weights) == ("mine", "mine", "none")
    assert (recipe.settings.network.encoder, recipe.settings.train.batch_size) == ("resnet50", 10)


@pytest.mark.parametrize(
    ("name", "overrides", "part"),
    [
        ("tinny", {}, "Did you mean 'tiny'"),
        ("tiny", {"train.max_iter": 3}, "Did you mean 'train.max_iters'"),
        ("tiny", {"train.batch_size": 0}, "train.batch_size = 0"),
        ("tiny", {"augment.crop_size": 100}, "multiple of 32"),
        ("tiny", {"augment.ratio_range": [3.0, 2.0]}, "augment.ratio_range = [3.0, 2.0]"),
        ("tiny", {"network.output_stride": 4}, "8 or 16"),
        ("tiny", {"network.atrous_rates": [1, 2]}, "three numbers"),
        ("tiny", {"optimizer.name": "adam"}, "Did you mean 'adamw'"),
        ("tiny", {"train.ema_decay": 1.0}, "train.ema_decay"),
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
        ("[train]\nbatch_size = " + "1" * 5000, "too many digits"),
        ("title = " + "[" * 5000, "nested too deeply"),
        ("[train.batch_size]\na = 1", "train.batch_size"),
    ],
    ids=["torn", "group", "no group", "digits", "nested", "table"],
)
def test_files_that_are_no_recipe(tmp_path, text, part):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WsssError, match=part):
        load_recipe(str(path))
